ALTER TABLE "tasks" ADD COLUMN "position" text collate "C";--> statement-breakpoint
CREATE INDEX "tasks_project_id_position_idx" ON "tasks" USING btree ("project_id",coalesce("position", (lpad(to_hex((extract(epoch from "created_at" at time zone 'UTC') * 1000)::bigint), 12, '0') || substr(replace("id"::text, '-', ''), 9, 16)) collate "C"),"id");
--> statement-breakpoint
-- What follows Drizzle cannot express. The place of a task, as the index has it.
CREATE FUNCTION task_place("position" text, created_at timestamptz, id uuid) RETURNS text LANGUAGE sql IMMUTABLE
RETURN coalesce(position, (lpad(to_hex((extract(epoch FROM created_at AT TIME ZONE 'UTC') * 1000)::bigint), 12, '0') || substr(replace(id::text, '-', ''), 9, 16)) COLLATE "C");
--> statement-breakpoint
-- The task before a place in a project; null where there is none.
CREATE FUNCTION task_before(project uuid, place text, task uuid) RETURNS uuid LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
	SELECT id FROM tasks
	WHERE project_id = project AND id <> task AND (coalesce(position, (lpad(to_hex((extract(epoch FROM created_at AT TIME ZONE 'UTC') * 1000)::bigint), 12, '0') || substr(replace(id::text, '-', ''), 9, 16)) COLLATE "C"), id) < (place COLLATE "C", task)
	ORDER BY project_id DESC, coalesce(position, (lpad(to_hex((extract(epoch FROM created_at AT TIME ZONE 'UTC') * 1000)::bigint), 12, '0') || substr(replace(id::text, '-', ''), 9, 16)) COLLATE "C") DESC, id DESC LIMIT 1
$$;
--> statement-breakpoint
-- A place between two others, in groups of eight hexadecimal digits. It lies near the lower one in the first group, near the upper one in
-- the second, and so on: what is put again and again at one place fills one of two groups after 17 times, and the next has room for
-- more than 100,000. The distance is random, so that two tasks that are put there at once have places of their own.
CREATE FUNCTION place_between(lower_place text, upper_place text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	digits CONSTANT int := 8;
	group_end CONSTANT bigint := 4294967296;
	step_max CONSTANT int := 65536;
	length_max CONSTANT int := 1000;
	is_bounded boolean := upper_place IS NOT NULL;
	longest int := greatest(length(lower_place), length(upper_place), 0);
	prefix text := '';
	i int := 0;
	l bigint;
	u bigint;
	step bigint;
BEGIN
	LOOP
		l := ('x' || rpad(substr(coalesce(lower_place, ''), i * digits + 1, digits), digits, '0'))::bit(32)::bigint;
		IF i * digits >= longest THEN
			is_bounded := false;
		END IF;
		u := CASE WHEN is_bounded THEN ('x' || rpad(substr(upper_place, i * digits + 1, digits), digits, '0'))::bit(32)::bigint ELSE group_end END;
		IF u - l > 1 THEN
			step := 1 + floor(random() * least(step_max, u - l - 1))::bigint;
			RETURN prefix || lpad(to_hex(CASE WHEN i % 2 = 0 THEN l + step ELSE u - step END), digits, '0');
		END IF;
		prefix := prefix || lpad(to_hex(l), digits, '0');
		IF u - l = 1 THEN
			is_bounded := false;
		END IF;
		i := i + 1;
		IF length(prefix) + digits > length_max THEN
			RAISE EXCEPTION 'there is no place between the tasks' USING ERRCODE = 'check_violation', CONSTRAINT = 'tasks_position_length_check';
		END IF;
	END LOOP;
END $$;
--> statement-breakpoint
-- The place right after or before a task of the project; without one, the first or the last. A statement that puts a task waits for its turn
-- in the project, by the lock of the tree, so that it sees what the one before has put.
CREATE FUNCTION place_task(task uuid, project uuid, anchor uuid, is_after boolean) RETURNS text LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
	anchor_place text;
	lower_place text;
	upper_place text;
	now_ms bigint := (extract(epoch FROM clock_timestamp()) * 1000)::bigint;
BEGIN
	PERFORM pg_advisory_xact_lock(tree_lock(project));
	IF anchor IS NOT NULL THEN
		SELECT coalesce(position, (lpad(to_hex((extract(epoch FROM created_at AT TIME ZONE 'UTC') * 1000)::bigint), 12, '0') || substr(replace(id::text, '-', ''), 9, 16)) COLLATE "C") INTO anchor_place FROM tasks WHERE id = anchor AND project_id = project AND id <> task;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'the anchor is not another task of the project' USING ERRCODE = 'check_violation', CONSTRAINT = 'tasks_position_anchor_check', DETAIL = task;
		END IF;
	END IF;
	IF is_after AND anchor IS NULL THEN
		SELECT coalesce(position, (lpad(to_hex((extract(epoch FROM created_at AT TIME ZONE 'UTC') * 1000)::bigint), 12, '0') || substr(replace(id::text, '-', ''), 9, 16)) COLLATE "C") INTO upper_place FROM tasks WHERE project_id = project AND id <> task
		ORDER BY project_id, coalesce(position, (lpad(to_hex((extract(epoch FROM created_at AT TIME ZONE 'UTC') * 1000)::bigint), 12, '0') || substr(replace(id::text, '-', ''), 9, 16)) COLLATE "C"), id LIMIT 1;
	ELSIF is_after THEN
		lower_place := anchor_place;
		SELECT coalesce(position, (lpad(to_hex((extract(epoch FROM created_at AT TIME ZONE 'UTC') * 1000)::bigint), 12, '0') || substr(replace(id::text, '-', ''), 9, 16)) COLLATE "C") INTO upper_place FROM tasks
		WHERE project_id = project AND id <> task AND (coalesce(position, (lpad(to_hex((extract(epoch FROM created_at AT TIME ZONE 'UTC') * 1000)::bigint), 12, '0') || substr(replace(id::text, '-', ''), 9, 16)) COLLATE "C"), id) > (anchor_place COLLATE "C", anchor)
		ORDER BY project_id, coalesce(position, (lpad(to_hex((extract(epoch FROM created_at AT TIME ZONE 'UTC') * 1000)::bigint), 12, '0') || substr(replace(id::text, '-', ''), 9, 16)) COLLATE "C"), id LIMIT 1;
	ELSIF anchor IS NULL THEN
		SELECT coalesce(position, (lpad(to_hex((extract(epoch FROM created_at AT TIME ZONE 'UTC') * 1000)::bigint), 12, '0') || substr(replace(id::text, '-', ''), 9, 16)) COLLATE "C") INTO lower_place FROM tasks WHERE project_id = project AND id <> task
		ORDER BY project_id DESC, coalesce(position, (lpad(to_hex((extract(epoch FROM created_at AT TIME ZONE 'UTC') * 1000)::bigint), 12, '0') || substr(replace(id::text, '-', ''), 9, 16)) COLLATE "C") DESC, id DESC LIMIT 1;
	ELSE
		upper_place := anchor_place;
		SELECT coalesce(position, (lpad(to_hex((extract(epoch FROM created_at AT TIME ZONE 'UTC') * 1000)::bigint), 12, '0') || substr(replace(id::text, '-', ''), 9, 16)) COLLATE "C") INTO lower_place FROM tasks
		WHERE project_id = project AND id <> task AND (coalesce(position, (lpad(to_hex((extract(epoch FROM created_at AT TIME ZONE 'UTC') * 1000)::bigint), 12, '0') || substr(replace(id::text, '-', ''), 9, 16)) COLLATE "C"), id) < (anchor_place COLLATE "C", anchor)
		ORDER BY project_id DESC, coalesce(position, (lpad(to_hex((extract(epoch FROM created_at AT TIME ZONE 'UTC') * 1000)::bigint), 12, '0') || substr(replace(id::text, '-', ''), 9, 16)) COLLATE "C") DESC, id DESC LIMIT 1;
	END IF;
	-- The last place comes before those of tasks that are created from now on: in this millisecond, the next, or else right after the last task.
	IF upper_place IS NULL THEN
		SELECT candidate INTO upper_place
		FROM (VALUES (1, lpad(to_hex(now_ms), 12, '0')), (2, lpad(to_hex(now_ms + 1), 12, '0')), (3, lower_place || 'ffffffff')) _ (rank, candidate)
		WHERE candidate COLLATE "C" > coalesce(lower_place, '') COLLATE "C" ORDER BY rank LIMIT 1;
	END IF;
	RETURN place_between(lower_place, upper_place);
END $$;
--> statement-breakpoint
-- The place of a task that comes from another project: after all tasks there, in the order that it had among those that come with it.
CREATE FUNCTION place_of_newcomer(place text) RETURNS text LANGUAGE sql STABLE
RETURN lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint), 12, '0') || 'fffff' || left(place, 64);
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
			task_fields(n.title, n.description, n.status, n.priority, n.due_at, n.due_on, n.assignee_id, n.labels, n.parent_id, n.blocked_by, n.completed_at, n.created_at, n.updated_at, n.created_by, n.comment_count)
		FROM new_rows n LEFT JOIN actors_by_subject() a ON a.subject_id = n.id
		ORDER BY a.place;
		IF is_restoring() THEN
			PERFORM record_comments_of(ARRAY(SELECT id FROM new_rows));
		END IF;
	WHEN 'UPDATE' THEN
		-- What keeps its version has not changed for a client: a search word, a reference whose end is recorded elsewhere.
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, version, fields)
		SELECT new_event_id(), coalesce(a.actor_id, current_actor()), 'task.updated', n.project_id, 'task', n.id, n.version, changed_fields(
			task_fields(o.title, o.description, o.status, o.priority, o.due_at, o.due_on, o.assignee_id, o.labels, o.parent_id, o.blocked_by, o.completed_at, o.created_at, o.updated_at, o.created_by, o.comment_count),
			task_fields(n.title, n.description, n.status, n.priority, n.due_at, n.due_on, n.assignee_id, n.labels, n.parent_id, n.blocked_by, n.completed_at, n.created_at, n.updated_at, n.created_by, n.comment_count))
			|| CASE WHEN n.position IS DISTINCT FROM o.position THEN jsonb_build_object('after', task_before(n.project_id, task_place(n.position, n.created_at, n.id), n.id)) ELSE '{}' END
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
			task_fields(n.title, n.description, n.status, n.priority, n.due_at, n.due_on, n.assignee_id, n.labels, n.parent_id, n.blocked_by, n.completed_at, n.created_at, n.updated_at, n.created_by, n.comment_count)
		FROM new_rows n JOIN old_rows o USING (id) LEFT JOIN actors_by_subject() a ON a.subject_id = n.id
		WHERE n.project_id <> o.project_id;
		IF FOUND THEN
			PERFORM record_comments_of(ARRAY(SELECT n.id FROM new_rows n JOIN old_rows o USING (id) WHERE n.project_id <> o.project_id));
		END IF;
	WHEN 'DELETE' THEN
		-- Those that go with their project are gone with it.
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, version, fields)
		SELECT new_event_id(), coalesce(a.actor_id, current_actor()), 'task.deleted', o.project_id, 'task', o.id, 0,
			task_fields(o.title, o.description, o.status, o.priority, o.due_at, o.due_on, o.assignee_id, o.labels, o.parent_id, o.blocked_by, o.completed_at, o.created_at, o.updated_at, o.created_by, o.comment_count)
		FROM old_rows o LEFT JOIN actors_by_subject() a ON a.subject_id = o.id
		WHERE EXISTS (SELECT FROM projects p WHERE p.id = o.project_id)
		ORDER BY a.place;
	END CASE;
	RETURN NULL;
END $$;
