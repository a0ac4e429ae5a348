CREATE TABLE "trashed_projects" (
	"id" uuid PRIMARY KEY NOT NULL,
	"deleted_at" timestamp(3) with time zone DEFAULT now() NOT NULL,
	"deleted_by" uuid,
	"discarded_at" timestamp(3) with time zone
);
--> statement-breakpoint
CREATE TABLE "trashed_tasks" (
	"id" uuid PRIMARY KEY NOT NULL,
	"project_id" uuid NOT NULL,
	"deleted_at" timestamp(3) with time zone DEFAULT now() NOT NULL,
	"deleted_by" uuid,
	"task" jsonb NOT NULL
);
--> statement-breakpoint
ALTER TABLE "trashed_projects" ADD CONSTRAINT "trashed_projects_id_fkey" FOREIGN KEY ("id") REFERENCES "public"."projects"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "trashed_tasks" ADD CONSTRAINT "trashed_tasks_project_id_fkey" FOREIGN KEY ("project_id") REFERENCES "public"."projects"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "trashed_projects_deleted_at_idx" ON "trashed_projects" USING btree ("deleted_at");--> statement-breakpoint
CREATE INDEX "trashed_tasks_project_id_deleted_at_idx" ON "trashed_tasks" USING btree ("project_id","deleted_at","id");--> statement-breakpoint
CREATE INDEX "trashed_tasks_deleted_at_idx" ON "trashed_tasks" USING btree ("deleted_at");
--> statement-breakpoint
-- What follows Drizzle cannot express. A deleted task goes to the trash in the statement that deletes it, whichever version sends it.
-- Tasks that go with their project, and those of an import that fails, do not.
CREATE FUNCTION trash_deleted_tasks() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
	IF is_unrecorded() THEN
		RETURN NULL;
	END IF;
	INSERT INTO trashed_tasks (id, project_id, deleted_by, task)
	SELECT o.id, o.project_id, coalesce(a.actor_id, current_actor()), to_jsonb(o)
	FROM old_rows o LEFT JOIN actors_by_subject() a ON a.subject_id = o.id
	WHERE EXISTS (SELECT FROM projects p WHERE p.id = o.project_id);
	RETURN NULL;
END $$;
--> statement-breakpoint
CREATE TRIGGER tasks_trashed AFTER DELETE ON tasks REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION trash_deleted_tasks();
--> statement-breakpoint
-- Whether the statement takes tasks out of the trash.
CREATE FUNCTION is_restoring() RETURNS boolean LANGUAGE sql STABLE
RETURN coalesce(current_setting('mantou.restoring', true), '') = 'on';
--> statement-breakpoint
-- An id in the trash is taken, as one in tasks is: otherwise its task could not be restored.
CREATE FUNCTION refuse_trashed_ids() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
	taken uuid;
BEGIN
	IF NOT is_restoring() THEN
		SELECT t.id INTO taken FROM new_rows n JOIN trashed_tasks t USING (id) LIMIT 1;
		IF FOUND THEN
			RAISE EXCEPTION 'a task in the trash has this id' USING ERRCODE = 'unique_violation', CONSTRAINT = 'tasks_pkey', DETAIL = taken;
		END IF;
	END IF;
	RETURN NULL;
END $$;
--> statement-breakpoint
CREATE TRIGGER tasks_untrashed AFTER INSERT ON tasks REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION refuse_trashed_ids();
--> statement-breakpoint
CREATE OR REPLACE FUNCTION record_task_events() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
	IF is_unrecorded() THEN
		RETURN NULL;
	END IF;
	CASE TG_OP
	WHEN 'INSERT' THEN
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, version, fields)
		SELECT new_event_id(), coalesce(a.actor_id, current_actor()), CASE WHEN is_restoring() THEN 'task.restored' ELSE 'task.created' END,
			n.project_id, 'task', n.id, n.version,
			task_fields(n.title, n.description, n.status, n.priority, n.due_at, n.due_on, n.assignee_id, n.labels, n.completed_at, n.created_at, n.updated_at, n.created_by)
		FROM new_rows n LEFT JOIN actors_by_subject() a ON a.subject_id = n.id
		ORDER BY a.place;
	WHEN 'UPDATE' THEN
		-- What keeps its version has not changed for a client: a search word, a reference whose end is recorded elsewhere.
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, version, fields)
		SELECT new_event_id(), coalesce(a.actor_id, current_actor()), 'task.updated', n.project_id, 'task', n.id, n.version, changed_fields(
			task_fields(o.title, o.description, o.status, o.priority, o.due_at, o.due_on, o.assignee_id, o.labels, o.completed_at, o.created_at, o.updated_at, o.created_by),
			task_fields(n.title, n.description, n.status, n.priority, n.due_at, n.due_on, n.assignee_id, n.labels, n.completed_at, n.created_at, n.updated_at, n.created_by))
		FROM new_rows n JOIN old_rows o USING (id) LEFT JOIN actors_by_subject() a ON a.subject_id = n.id
		WHERE n.version <> o.version AND n.project_id = o.project_id
		ORDER BY a.place;
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
		SELECT new_event_id(), coalesce(a.actor_id, current_actor()), 'task.deleted', o.project_id, 'task', o.id, 0,
			task_fields(o.title, o.description, o.status, o.priority, o.due_at, o.due_on, o.assignee_id, o.labels, o.completed_at, o.created_at, o.updated_at, o.created_by)
		FROM old_rows o LEFT JOIN actors_by_subject() a ON a.subject_id = o.id
		WHERE EXISTS (SELECT FROM projects p WHERE p.id = o.project_id)
		ORDER BY a.place;
	END CASE;
	RETURN NULL;
END $$;
--> statement-breakpoint
CREATE OR REPLACE FUNCTION record_member_events() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
	IF is_unrecorded() THEN
		RETURN NULL;
	END IF;
	CASE TG_OP
	WHEN 'INSERT' THEN
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, recipient_id, version, fields)
		SELECT new_event_id(), coalesce(a.actor_id, current_actor()), told.action, n.project_id, told.subject, told.subject_id, told.recipient_id, p.version,
			jsonb_build_object('role', n.role)
		FROM new_rows n JOIN projects p ON p.id = n.project_id LEFT JOIN actors_by_subject() a ON a.subject_id = n.project_id
		CROSS JOIN LATERAL (VALUES
			(1, 'member.added', 'member', n.user_id, NULL), (2, 'access.granted', 'project', n.project_id, n.user_id)
		) told (place, action, subject, subject_id, recipient_id)
		ORDER BY a.place, told.place;
	WHEN 'UPDATE' THEN
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, version, fields)
		SELECT new_event_id(), current_actor(), 'member.updated', n.project_id, 'member', n.user_id, p.version,
			jsonb_build_object('role', n.role)
		FROM new_rows n JOIN old_rows o USING (project_id, user_id) JOIN projects p ON p.id = n.project_id
		WHERE n.role <> o.role;
		-- The project is in the trash now: its members lose it, and its history names the user who deleted it.
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, version, fields)
		SELECT DISTINCT ON (n.project_id) new_event_id(), current_actor(), 'project.deleted', n.project_id, 'project', n.project_id, p.version, '{}'::jsonb
		FROM new_rows n JOIN old_rows o USING (project_id, user_id) JOIN projects p ON p.id = n.project_id
		WHERE o.importing_since IS NULL AND n.importing_since = 'infinity';
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, recipient_id, version, fields)
		SELECT new_event_id(), current_actor(), 'access.lost', n.project_id, 'project', n.project_id, n.user_id, 0, '{}'
		FROM new_rows n JOIN old_rows o USING (project_id, user_id)
		WHERE o.importing_since IS NULL AND n.importing_since = 'infinity';
		-- It is restored. What comes after the access is granted is in the feed of the member, too.
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, recipient_id, version, fields)
		SELECT new_event_id(), current_actor(), 'access.granted', n.project_id, 'project', n.project_id, n.user_id, p.version, jsonb_build_object('role', n.role)
		FROM new_rows n JOIN old_rows o USING (project_id, user_id) JOIN projects p ON p.id = n.project_id
		WHERE o.importing_since = 'infinity' AND n.importing_since IS NULL;
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, version, fields)
		SELECT DISTINCT ON (n.project_id) new_event_id(), current_actor(), 'project.restored', n.project_id, 'project', n.project_id, p.version,
			project_fields(p.name, p.description, p.archived_at, p.created_at, p.updated_at)
		FROM new_rows n JOIN old_rows o USING (project_id, user_id) JOIN projects p ON p.id = n.project_id
		WHERE o.importing_since = 'infinity' AND n.importing_since IS NULL;
		-- An import that is complete: only now there is a project.
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, recipient_id, version, fields)
		SELECT new_event_id(), current_actor(), told.action, n.project_id, told.subject, told.subject_id, told.recipient_id, p.version, told.fields
		FROM new_rows n JOIN old_rows o USING (project_id, user_id) JOIN projects p ON p.id = n.project_id CROSS JOIN LATERAL (VALUES
			('project.created', 'project', n.project_id, NULL, project_fields(p.name, p.description, p.archived_at, p.created_at, p.updated_at)),
			('member.added', 'member', n.user_id, NULL, jsonb_build_object('role', n.role)),
			('access.granted', 'project', n.project_id, n.user_id, jsonb_build_object('role', n.role))
		) told (action, subject, subject_id, recipient_id, fields)
		WHERE o.importing_since < 'infinity' AND n.importing_since IS NULL;
	WHEN 'DELETE' THEN
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, version, fields)
		SELECT new_event_id(), current_actor(), 'member.removed', o.project_id, 'member', o.user_id, p.version, '{}'
		FROM old_rows o JOIN projects p ON p.id = o.project_id;
		-- Of a project that is deleted, too; but not to an account that is, and not of a project in the trash, which is lost already.
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, recipient_id, version, fields)
		SELECT new_event_id(), current_actor(), 'access.lost', o.project_id, 'project', o.project_id, o.user_id,
			coalesce((SELECT p.version FROM projects p WHERE p.id = o.project_id), 0), '{}'
		FROM old_rows o WHERE o.importing_since IS NULL AND EXISTS (SELECT FROM users u WHERE u.id = o.user_id);
	END CASE;
	RETURN NULL;
END $$;
