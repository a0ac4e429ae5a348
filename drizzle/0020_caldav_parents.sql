ALTER TABLE "dav_items" ADD COLUMN "parent_uid" text;--> statement-breakpoint
ALTER TABLE "dav_items" ADD COLUMN "parent_id" uuid;--> statement-breakpoint
CREATE INDEX "dav_items_project_id_parent_uid_idx" ON "dav_items" USING btree ("project_id","parent_uid") WHERE "dav_items"."parent_uid" is not null and "dav_items"."parent_id" is null;--> statement-breakpoint
-- As before, with the new columns.
CREATE OR REPLACE FUNCTION move_dav_item() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
	item dav_items;
BEGIN
	UPDATE dav_items SET removed_at = now() WHERE task_id = OLD.id AND project_id = OLD.project_id RETURNING * INTO item;
	IF item.task_id IS NULL THEN
		RETURN NULL;
	END IF;
	UPDATE dav_items SET text = NULL WHERE task_id = OLD.id AND project_id = OLD.project_id;
	DELETE FROM dav_items i WHERE project_id = NEW.project_id AND (task_id = NEW.id OR ((name = item.name OR uid = item.uid)
		AND NOT EXISTS (SELECT FROM tasks t WHERE t.id = i.task_id AND t.project_id = i.project_id)));
	BEGIN
		INSERT INTO dav_items (project_id, task_id, name, uid, text, version, parent_uid, parent_id, written_at)
		VALUES (NEW.project_id, NEW.id, item.name, item.uid, item.text, item.version, item.parent_uid, item.parent_id, item.written_at);
	EXCEPTION WHEN unique_violation THEN
		INSERT INTO dav_items (project_id, task_id, name, uid, text, version, parent_uid, parent_id, written_at)
		VALUES (NEW.project_id, NEW.id, NEW.id || '.ics', NEW.id::text, item.text, item.version, item.parent_uid, item.parent_id, item.written_at);
	END;
	RETURN NULL;
END $$;
