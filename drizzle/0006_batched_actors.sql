-- A statement that writes tasks for many users names who acts on each: `mantou.actors` is a JSON object of users by task.
CREATE FUNCTION actors_by_subject() RETURNS TABLE (subject_id uuid, actor_id uuid) LANGUAGE sql STABLE AS $$
	SELECT key::uuid, value::uuid FROM json_each_text(nullif(current_setting('mantou.actors', true), '')::json)
$$;
--> statement-breakpoint
CREATE OR REPLACE FUNCTION record_task_events() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
	IF is_unrecorded() THEN
		RETURN NULL;
	END IF;
	CASE TG_OP
	WHEN 'INSERT' THEN
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, version, fields)
		SELECT new_event_id(), coalesce(a.actor_id, current_actor()), 'task.created', n.project_id, 'task', n.id, n.version,
			task_fields(n.title, n.description, n.status, n.priority, n.due_at, n.assignee_id, n.labels, n.completed_at, n.created_at, n.updated_at, n.created_by)
		FROM new_rows n LEFT JOIN actors_by_subject() a ON a.subject_id = n.id;
	WHEN 'UPDATE' THEN
		-- What keeps its version has not changed for a client: a search word, a reference whose end is recorded elsewhere.
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, version, fields)
		SELECT new_event_id(), coalesce(a.actor_id, current_actor()), 'task.updated', n.project_id, 'task', n.id, n.version, changed_fields(
			task_fields(o.title, o.description, o.status, o.priority, o.due_at, o.assignee_id, o.labels, o.completed_at, o.created_at, o.updated_at, o.created_by),
			task_fields(n.title, n.description, n.status, n.priority, n.due_at, n.assignee_id, n.labels, n.completed_at, n.created_at, n.updated_at, n.created_by))
		FROM new_rows n JOIN old_rows o USING (id) LEFT JOIN actors_by_subject() a ON a.subject_id = n.id
		WHERE n.version <> o.version;
	WHEN 'DELETE' THEN
		-- Those that go with their project are gone with it.
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, version, fields)
		SELECT new_event_id(), current_actor(), 'task.deleted', o.project_id, 'task', o.id, o.version, '{}'
		FROM old_rows o WHERE EXISTS (SELECT FROM projects p WHERE p.id = o.project_id);
	END CASE;
	RETURN NULL;
END $$;
