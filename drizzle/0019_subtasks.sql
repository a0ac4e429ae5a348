ALTER TABLE "tasks" ADD COLUMN "parent_id" uuid;--> statement-breakpoint
ALTER TABLE "tasks" ADD COLUMN "blocked_by" uuid[] DEFAULT '{}' NOT NULL;--> statement-breakpoint
ALTER TABLE "tasks" ADD CONSTRAINT "tasks_parent_id_fkey" FOREIGN KEY ("parent_id") REFERENCES "public"."tasks"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "tasks_parent_id_idx" ON "tasks" USING btree ("parent_id") WHERE "tasks"."parent_id" is not null;--> statement-breakpoint
CREATE INDEX "tasks_blocked_by_idx" ON "tasks" USING gin ("blocked_by") WHERE "tasks"."blocked_by" <> '{}';
--> statement-breakpoint
-- What follows Drizzle cannot express. PostgreSQL keeps the subtasks of a project a forest of few levels: a task that gets a parent, or moves,
-- waits for its turn in the project, and then looks at the tree as it is committed. New subtasks share their turn: they have no
-- subtasks yet, so two of them cannot make a cycle.
CREATE FUNCTION tree_lock(project_id uuid) RETURNS bigint LANGUAGE sql IMMUTABLE
RETURN hashtextextended('tree of ' || project_id::text, 0);
--> statement-breakpoint
CREATE FUNCTION check_task_tree() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
	levels_max CONSTANT int := 5;
	above int := 0;
	below int := 0;
	is_here boolean;
	is_cycle boolean;
BEGIN
	IF TG_OP = 'INSERT' THEN
		PERFORM pg_advisory_xact_lock_shared(tree_lock(NEW.project_id));
	ELSE
		PERFORM pg_advisory_xact_lock(tree_lock(least(OLD.project_id, NEW.project_id)));
		PERFORM pg_advisory_xact_lock(tree_lock(greatest(OLD.project_id, NEW.project_id)));
	END IF;
	IF NEW.parent_id IS NOT NULL THEN
		WITH RECURSIVE up (id, parent_id, project_id, level) AS (
			SELECT t.id, t.parent_id, t.project_id, 1 FROM tasks t WHERE t.id = NEW.parent_id
			UNION ALL
			SELECT t.id, t.parent_id, t.project_id, up.level + 1 FROM up JOIN tasks t ON t.id = up.parent_id WHERE up.level <= levels_max
		)
		SELECT count(*), bool_and(project_id = NEW.project_id), bool_or(id = NEW.id) INTO above, is_here, is_cycle FROM up;
		IF is_here IS NOT TRUE THEN
			RAISE EXCEPTION 'the parent is not a task of the project' USING ERRCODE = 'check_violation', CONSTRAINT = 'tasks_parent_project_check', DETAIL = NEW.id;
		END IF;
		IF is_cycle THEN
			RAISE EXCEPTION 'the parent is below the task' USING ERRCODE = 'check_violation', CONSTRAINT = 'tasks_parent_cycle_check', DETAIL = NEW.id;
		END IF;
	END IF;
	IF TG_OP = 'UPDATE' THEN
		WITH RECURSIVE down (id, project_id, level) AS (
			SELECT t.id, t.project_id, 1 FROM tasks t WHERE t.parent_id = NEW.id
			UNION ALL
			SELECT t.id, t.project_id, down.level + 1 FROM down JOIN tasks t ON t.parent_id = down.id WHERE down.level <= levels_max
		)
		SELECT coalesce(max(level), 0), bool_and(project_id = NEW.project_id) INTO below, is_here FROM down;
		IF is_here IS FALSE THEN
			RAISE EXCEPTION 'a subtask is not in the project' USING ERRCODE = 'check_violation', CONSTRAINT = 'tasks_subtask_project_check', DETAIL = NEW.id;
		END IF;
	END IF;
	IF above + 1 + below > levels_max THEN
		RAISE EXCEPTION 'the tree has too many levels' USING ERRCODE = 'check_violation', CONSTRAINT = 'tasks_parent_levels_check', DETAIL = NEW.id;
	END IF;
	RETURN NULL;
END $$;
--> statement-breakpoint
-- The lock comes before those of rows, as in all writes of a tree: here the foreign key locks the parent.
CREATE FUNCTION lock_task_tree() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
	PERFORM pg_advisory_xact_lock_shared(tree_lock(NEW.project_id));
	RETURN NEW;
END $$;
--> statement-breakpoint
CREATE TRIGGER tasks_tree_locked BEFORE INSERT ON tasks FOR EACH ROW WHEN (NEW.parent_id IS NOT NULL) EXECUTE FUNCTION lock_task_tree();--> statement-breakpoint
CREATE TRIGGER tasks_tree_inserted AFTER INSERT ON tasks FOR EACH ROW WHEN (NEW.parent_id IS NOT NULL) EXECUTE FUNCTION check_task_tree();--> statement-breakpoint
CREATE TRIGGER tasks_tree_updated AFTER UPDATE OF parent_id, project_id ON tasks FOR EACH ROW
WHEN (OLD.parent_id IS DISTINCT FROM NEW.parent_id OR OLD.project_id <> NEW.project_id) EXECUTE FUNCTION check_task_tree();
--> statement-breakpoint
CREATE FUNCTION task_fields(title text, description text, status text, priority smallint, due_at timestamptz, due_on date, assignee_id uuid,
	labels text[], parent_id uuid, blocked_by uuid[], completed_at timestamptz, created_at timestamptz, updated_at timestamptz, created_by uuid)
RETURNS jsonb LANGUAGE sql STABLE
RETURN jsonb_build_object('title', title, 'description', description, 'status', status, 'priority', priority,
	'due_at', rfc3339(due_at), 'due_on', due_on, 'assignee_id', assignee_id, 'labels', labels, 'parent_id', parent_id,
	'blocked_by', blocked_by, 'completed_at', rfc3339(completed_at), 'created_at', rfc3339(created_at), 'updated_at', rfc3339(updated_at),
	'created_by', created_by);
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
			task_fields(n.title, n.description, n.status, n.priority, n.due_at, n.due_on, n.assignee_id, n.labels, n.parent_id, n.blocked_by, n.completed_at, n.created_at, n.updated_at, n.created_by)
		FROM new_rows n LEFT JOIN actors_by_subject() a ON a.subject_id = n.id
		ORDER BY a.place;
	WHEN 'UPDATE' THEN
		-- What keeps its version has not changed for a client: a search word, a reference whose end is recorded elsewhere.
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, version, fields)
		SELECT new_event_id(), coalesce(a.actor_id, current_actor()), 'task.updated', n.project_id, 'task', n.id, n.version, changed_fields(
			task_fields(o.title, o.description, o.status, o.priority, o.due_at, o.due_on, o.assignee_id, o.labels, o.parent_id, o.blocked_by, o.completed_at, o.created_at, o.updated_at, o.created_by),
			task_fields(n.title, n.description, n.status, n.priority, n.due_at, n.due_on, n.assignee_id, n.labels, n.parent_id, n.blocked_by, n.completed_at, n.created_at, n.updated_at, n.created_by))
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
			task_fields(n.title, n.description, n.status, n.priority, n.due_at, n.due_on, n.assignee_id, n.labels, n.parent_id, n.blocked_by, n.completed_at, n.created_at, n.updated_at, n.created_by)
		FROM new_rows n JOIN old_rows o USING (id) LEFT JOIN actors_by_subject() a ON a.subject_id = n.id
		WHERE n.project_id <> o.project_id;
	WHEN 'DELETE' THEN
		-- Those that go with their project are gone with it.
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, version, fields)
		SELECT new_event_id(), coalesce(a.actor_id, current_actor()), 'task.deleted', o.project_id, 'task', o.id, 0,
			task_fields(o.title, o.description, o.status, o.priority, o.due_at, o.due_on, o.assignee_id, o.labels, o.parent_id, o.blocked_by, o.completed_at, o.created_at, o.updated_at, o.created_by)
		FROM old_rows o LEFT JOIN actors_by_subject() a ON a.subject_id = o.id
		WHERE EXISTS (SELECT FROM projects p WHERE p.id = o.project_id)
		ORDER BY a.place;
	END CASE;
	RETURN NULL;
END $$;
--> statement-breakpoint
DROP FUNCTION task_fields(text, text, text, smallint, timestamptz, date, uuid, text[], timestamptz, timestamptz, timestamptz, uuid);
--> statement-breakpoint
-- What is restored with a task: the subtasks that were deleted in the same statement.
CREATE INDEX trashed_tasks_parent_id_idx ON trashed_tasks (((task ->> 'parent_id')::uuid)) WHERE task ->> 'parent_id' IS NOT NULL;
