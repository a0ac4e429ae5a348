-- A statement for many users also deletes tasks and creates projects, and its events are in the order of its calls.
DROP FUNCTION actors_by_subject();
--> statement-breakpoint
CREATE FUNCTION actors_by_subject() RETURNS TABLE (subject_id uuid, actor_id uuid, place bigint) LANGUAGE sql STABLE AS $$
	SELECT key::uuid, value::uuid, ordinality
	FROM json_each_text(nullif(current_setting('mantou.actors', true), '')::json) WITH ORDINALITY
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
		SELECT new_event_id(), coalesce(a.actor_id, current_actor()), 'task.deleted', o.project_id, 'task', o.id, 0, '{}'
		FROM old_rows o LEFT JOIN actors_by_subject() a ON a.subject_id = o.id
		WHERE EXISTS (SELECT FROM projects p WHERE p.id = o.project_id)
		ORDER BY a.place;
	END CASE;
	RETURN NULL;
END $$;
--> statement-breakpoint
CREATE OR REPLACE FUNCTION record_project_events() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
	IF is_unrecorded() THEN
		RETURN NULL;
	END IF;
	CASE TG_OP
	WHEN 'INSERT' THEN
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, version, fields)
		SELECT new_event_id(), coalesce(a.actor_id, current_actor()), 'project.created', n.id, 'project', n.id, n.version,
			project_fields(n.name, n.description, n.archived_at, n.created_at, n.updated_at)
		FROM new_rows n LEFT JOIN actors_by_subject() a ON a.subject_id = n.id
		ORDER BY a.place;
	WHEN 'UPDATE' THEN
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, version, fields)
		SELECT new_event_id(), current_actor(), 'project.updated', n.id, 'project', n.id, n.version, changed_fields(
			project_fields(o.name, o.description, o.archived_at, o.created_at, o.updated_at),
			project_fields(n.name, n.description, n.archived_at, n.created_at, n.updated_at))
		FROM new_rows n JOIN old_rows o USING (id) WHERE n.version <> o.version;
	WHEN 'DELETE' THEN
		-- Each member has an event of the lost access, and no user may read the events of the project any more.
		DELETE FROM events WHERE recipient_id IS NULL AND project_id IN (SELECT id FROM old_rows);
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
		-- An import that is complete: only now there is a project.
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, recipient_id, version, fields)
		SELECT new_event_id(), current_actor(), told.action, n.project_id, told.subject, told.subject_id, told.recipient_id, p.version, told.fields
		FROM new_rows n JOIN old_rows o USING (project_id, user_id) JOIN projects p ON p.id = n.project_id CROSS JOIN LATERAL (VALUES
			('project.created', 'project', n.project_id, NULL, project_fields(p.name, p.description, p.archived_at, p.created_at, p.updated_at)),
			('member.added', 'member', n.user_id, NULL, jsonb_build_object('role', n.role)),
			('access.granted', 'project', n.project_id, n.user_id, jsonb_build_object('role', n.role))
		) told (action, subject, subject_id, recipient_id, fields)
		WHERE o.importing_since IS NOT NULL AND n.importing_since IS NULL;
	WHEN 'DELETE' THEN
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, version, fields)
		SELECT new_event_id(), current_actor(), 'member.removed', o.project_id, 'member', o.user_id, p.version, '{}'
		FROM old_rows o JOIN projects p ON p.id = o.project_id;
		-- Of a project that is deleted, too; but not to an account that is.
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, recipient_id, version, fields)
		SELECT new_event_id(), current_actor(), 'access.lost', o.project_id, 'project', o.project_id, o.user_id,
			coalesce((SELECT p.version FROM projects p WHERE p.id = o.project_id), 0), '{}'
		FROM old_rows o WHERE EXISTS (SELECT FROM users u WHERE u.id = o.user_id);
	END CASE;
	RETURN NULL;
END $$;
