-- Frees a name and a UID in a project that tasks have which are gone. Those in the trash get others, and keep what their client wrote.
CREATE FUNCTION free_dav_name(in_project uuid, wanted_name text, wanted_uid text) RETURNS void LANGUAGE sql VOLATILE SET search_path FROM CURRENT AS $$
	WITH namesakes AS (
		SELECT i.task_id, i.project_id, EXISTS (SELECT FROM trashed_tasks t WHERE t.id = i.task_id AND t.project_id = i.project_id) AS is_trashed,
			gen_random_uuid() AS free_id
		FROM dav_items i WHERE i.project_id = in_project AND i.removed_at IS NOT NULL AND (i.name = wanted_name OR i.uid = wanted_uid)
			AND NOT EXISTS (SELECT FROM tasks t WHERE t.id = i.task_id AND t.project_id = i.project_id)
	), renamed AS (
		UPDATE dav_items i SET name = n.free_id || '.ics', uid = n.free_id::text
		FROM namesakes n WHERE i.task_id = n.task_id AND i.project_id = n.project_id AND i.removed_at IS NOT NULL AND n.is_trashed
	)
	DELETE FROM dav_items i USING namesakes n WHERE i.task_id = n.task_id AND i.project_id = n.project_id AND i.removed_at IS NOT NULL AND NOT n.is_trashed;
$$;
--> statement-breakpoint
-- As before, but for the trash of the project to which the task moves.
CREATE OR REPLACE FUNCTION move_dav_item() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
	item dav_items;
BEGIN
	UPDATE dav_items SET removed_at = now() WHERE task_id = OLD.id AND project_id = OLD.project_id RETURNING * INTO item;
	IF item.task_id IS NULL THEN
		RETURN NULL;
	END IF;
	UPDATE dav_items SET text = NULL WHERE task_id = OLD.id AND project_id = OLD.project_id;
	DELETE FROM dav_items WHERE project_id = NEW.project_id AND task_id = NEW.id;
	PERFORM free_dav_name(NEW.project_id, item.name, item.uid);
	BEGIN
		INSERT INTO dav_items (project_id, task_id, name, uid, text, version, parent_uid, parent_id, written_at)
		VALUES (NEW.project_id, NEW.id, item.name, item.uid, item.text, item.version, item.parent_uid, item.parent_id, item.written_at);
	EXCEPTION WHEN unique_violation THEN
		INSERT INTO dav_items (project_id, task_id, name, uid, text, version, parent_uid, parent_id, written_at)
		VALUES (NEW.project_id, NEW.id, NEW.id || '.ics', NEW.id::text, item.text, item.version, item.parent_uid, item.parent_id, item.written_at);
	END;
	RETURN NULL;
END $$;
