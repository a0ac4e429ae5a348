DROP INDEX "tasks_project_id_due_at_idx";--> statement-breakpoint
DROP INDEX "tasks_project_id_due_at_descending_idx";--> statement-breakpoint
ALTER TABLE "tasks" ADD COLUMN "due_on" date;--> statement-breakpoint
CREATE INDEX "tasks_project_id_due_at_idx" ON "tasks" USING btree ("project_id",coalesce("due_at", ("due_on" + time '23:59:59.999') at time zone 'UTC', 'infinity'),"id");--> statement-breakpoint
CREATE INDEX "tasks_project_id_due_at_descending_idx" ON "tasks" USING btree ("project_id",coalesce("due_at", ("due_on" + time '23:59:59.999') at time zone 'UTC', '-infinity'),"id");
--> statement-breakpoint
-- The previous version writes due_at alone, and what it writes last counts. This version never sets both.
CREATE FUNCTION keep_one_due_date() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.due_on := NULL;
	RETURN NEW;
END $$;
--> statement-breakpoint
CREATE TRIGGER tasks_one_due_date BEFORE UPDATE ON tasks FOR EACH ROW
WHEN (NEW.due_at IS NOT NULL AND NEW.due_on IS NOT NULL) EXECUTE FUNCTION keep_one_due_date();
--> statement-breakpoint
CREATE FUNCTION task_fields(title text, description text, status text, priority smallint, due_at timestamptz, due_on date, assignee_id uuid,
	labels text[], completed_at timestamptz, created_at timestamptz, updated_at timestamptz, created_by uuid)
RETURNS jsonb LANGUAGE sql STABLE
RETURN jsonb_build_object('title', title, 'description', description, 'status', status, 'priority', priority,
	'due_at', rfc3339(due_at), 'due_on', due_on, 'assignee_id', assignee_id, 'labels', labels, 'completed_at', rfc3339(completed_at),
	'created_at', rfc3339(created_at), 'updated_at', rfc3339(updated_at), 'created_by', created_by);
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
			task_fields(n.title, n.description, n.status, n.priority, n.due_at, n.due_on, n.assignee_id, n.labels, n.completed_at, n.created_at, n.updated_at, n.created_by)
		FROM new_rows n LEFT JOIN actors_by_subject() a ON a.subject_id = n.id;
	WHEN 'UPDATE' THEN
		-- What keeps its version has not changed for a client: a search word, a reference whose end is recorded elsewhere.
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, version, fields)
		SELECT new_event_id(), coalesce(a.actor_id, current_actor()), 'task.updated', n.project_id, 'task', n.id, n.version, changed_fields(
			task_fields(o.title, o.description, o.status, o.priority, o.due_at, o.due_on, o.assignee_id, o.labels, o.completed_at, o.created_at, o.updated_at, o.created_by),
			task_fields(n.title, n.description, n.status, n.priority, n.due_at, n.due_on, n.assignee_id, n.labels, n.completed_at, n.created_at, n.updated_at, n.created_by))
		FROM new_rows n JOIN old_rows o USING (id) LEFT JOIN actors_by_subject() a ON a.subject_id = n.id
		WHERE n.version <> o.version AND n.project_id = o.project_id;
		-- A task that moves is gone from one project, and after that it is there in the other: a member may see one of the two.
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, version, fields)
		SELECT new_event_id(), coalesce(a.actor_id, current_actor()), 'task.deleted', o.project_id, 'task', o.id, 0, '{}'
		FROM new_rows n JOIN old_rows o USING (id) LEFT JOIN actors_by_subject() a ON a.subject_id = n.id
		WHERE n.project_id <> o.project_id;
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, version, fields)
		SELECT new_event_id(), coalesce(a.actor_id, current_actor()), 'task.created', n.project_id, 'task', n.id, n.version,
			task_fields(n.title, n.description, n.status, n.priority, n.due_at, n.due_on, n.assignee_id, n.labels, n.completed_at, n.created_at, n.updated_at, n.created_by)
		FROM new_rows n JOIN old_rows o USING (id) LEFT JOIN actors_by_subject() a ON a.subject_id = n.id
		WHERE n.project_id <> o.project_id;
	WHEN 'DELETE' THEN
		-- Those that go with their project are gone with it.
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, version, fields)
		SELECT new_event_id(), current_actor(), 'task.deleted', o.project_id, 'task', o.id, 0, '{}'
		FROM old_rows o WHERE EXISTS (SELECT FROM projects p WHERE p.id = o.project_id);
	END CASE;
	RETURN NULL;
END $$;
--> statement-breakpoint
DROP FUNCTION task_fields(text, text, text, smallint, timestamptz, uuid, text[], timestamptz, timestamptz, timestamptz, uuid);
