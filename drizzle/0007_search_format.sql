DROP INDEX "projects_old_words_idx";--> statement-breakpoint
DROP INDEX "tasks_old_words_idx";--> statement-breakpoint
ALTER TABLE "projects" ADD COLUMN "name_runs" text;--> statement-breakpoint
ALTER TABLE "projects" ADD COLUMN "description_runs" text;--> statement-breakpoint
ALTER TABLE "tasks" ADD COLUMN "title_runs" text;--> statement-breakpoint
ALTER TABLE "tasks" ADD COLUMN "description_runs" text;--> statement-breakpoint
CREATE INDEX "projects_stale_search_idx" ON "projects" USING btree ("id") WHERE ("projects"."name_words" is null or "projects"."words_version" is distinct from -"projects"."version");--> statement-breakpoint
CREATE INDEX "tasks_project_id_completed_at_idx" ON "tasks" USING btree ("project_id",coalesce("completed_at", 'infinity'),"id");--> statement-breakpoint
CREATE INDEX "tasks_project_id_completed_at_descending_idx" ON "tasks" USING btree ("project_id",coalesce("completed_at", '-infinity'),"id");--> statement-breakpoint
CREATE INDEX "tasks_stale_search_idx" ON "tasks" USING btree ("id") WHERE ("tasks"."title_words" is null or "tasks"."words_version" is distinct from -"tasks"."version");--> statement-breakpoint
-- Drizzle would build it anew.
ALTER INDEX "tasks_words_idx" SET (gin_pending_list_limit = 64);
--> statement-breakpoint
-- What is deleted has version 0, as the document of the API says.
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
		SELECT new_event_id(), current_actor(), 'task.deleted', o.project_id, 'task', o.id, 0, '{}'
		FROM old_rows o WHERE EXISTS (SELECT FROM projects p WHERE p.id = o.project_id);
	END CASE;
	RETURN NULL;
END $$;
