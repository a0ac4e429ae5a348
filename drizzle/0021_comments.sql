CREATE TABLE "comments" (
	"id" uuid PRIMARY KEY NOT NULL,
	"project_id" uuid NOT NULL,
	"task_id" uuid NOT NULL,
	"author_id" uuid,
	"body" text NOT NULL,
	"created_at" timestamp(3) with time zone DEFAULT now() NOT NULL,
	"edited_at" timestamp(3) with time zone,
	"version" integer DEFAULT 1 NOT NULL,
	"words" "tsvector",
	"runs" text,
	"words_version" integer
);
--> statement-breakpoint
ALTER TABLE "projects" ADD COLUMN "viewers_may_comment" boolean DEFAULT false NOT NULL;--> statement-breakpoint
ALTER TABLE "tasks" ADD COLUMN "comment_count" integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "comments" ADD CONSTRAINT "comments_project_id_fkey" FOREIGN KEY ("project_id") REFERENCES "public"."projects"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "comments" ADD CONSTRAINT "comments_author_id_fkey" FOREIGN KEY ("author_id") REFERENCES "public"."users"("id") ON DELETE set null ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "comments_task_id_created_at_idx" ON "comments" USING btree ("task_id","created_at","id");--> statement-breakpoint
CREATE INDEX "comments_project_id_created_at_idx" ON "comments" USING btree ("project_id","created_at","id");--> statement-breakpoint
CREATE INDEX "comments_author_id_idx" ON "comments" USING btree ("author_id");--> statement-breakpoint
CREATE INDEX "comments_words_idx" ON "comments" USING gin ("words") WITH (gin_pending_list_limit=64);--> statement-breakpoint
CREATE INDEX "comments_stale_search_idx" ON "comments" USING btree ("id") WHERE ("comments"."words" is null or "comments"."words_version" is distinct from -"comments"."version");
--> statement-breakpoint
-- What follows Drizzle cannot express: the functions and triggers that keep comments with their task, count them, and record what
-- happens to them.
CREATE FUNCTION task_fields(title text, description text, status text, priority smallint, due_at timestamptz, due_on date, assignee_id uuid,
	labels text[], parent_id uuid, blocked_by uuid[], completed_at timestamptz, created_at timestamptz, updated_at timestamptz, created_by uuid,
	comment_count integer)
RETURNS jsonb LANGUAGE sql STABLE
RETURN jsonb_build_object('title', title, 'description', description, 'status', status, 'priority', priority,
	'due_at', rfc3339(due_at), 'due_on', due_on, 'assignee_id', assignee_id, 'labels', labels, 'parent_id', parent_id,
	'blocked_by', blocked_by, 'completed_at', rfc3339(completed_at), 'created_at', rfc3339(created_at), 'updated_at', rfc3339(updated_at),
	'created_by', created_by, 'comment_count', comment_count);
--> statement-breakpoint
CREATE FUNCTION project_fields(name text, description text, archived_at timestamptz, created_at timestamptz, updated_at timestamptz,
	viewers_may_comment boolean)
RETURNS jsonb LANGUAGE sql STABLE
RETURN jsonb_build_object('name', name, 'description', description, 'archived_at', rfc3339(archived_at),
	'created_at', rfc3339(created_at), 'updated_at', rfc3339(updated_at), 'viewers_may_comment', viewers_may_comment);
--> statement-breakpoint
CREATE FUNCTION comment_fields(task_id uuid, body text, author_id uuid, created_at timestamptz, edited_at timestamptz)
RETURNS jsonb LANGUAGE sql STABLE
RETURN jsonb_build_object('task_id', task_id, 'body', body, 'author_id', author_id, 'created_at', rfc3339(created_at),
	'edited_at', rfc3339(edited_at));
--> statement-breakpoint
-- Every word begins with six characters of the project.
CREATE FUNCTION rescoped_words(words tsvector, project_id uuid) RETURNS tsvector LANGUAGE sql IMMUTABLE STRICT
RETURN (SELECT coalesce(array_to_tsvector(array_agg(right(project_id::text, 6) || substr(lexeme, 7))), '')
	FROM unnest(tsvector_to_array(words)) lexeme);
--> statement-breakpoint
-- Comments go with their task to another project.
CREATE FUNCTION move_comments() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
	UPDATE comments SET project_id = NEW.project_id, words = rescoped_words(words, NEW.project_id)
	WHERE task_id = NEW.id AND project_id = OLD.project_id;
	RETURN NULL;
END $$;
--> statement-breakpoint
-- Deletes the comments of those of these tasks that are gone for good. What keeps a task elsewhere narrows this function.
CREATE FUNCTION delete_comments_of(task_ids uuid[]) RETURNS void LANGUAGE sql SET search_path FROM CURRENT AS $$
	DELETE FROM comments c WHERE c.task_id = ANY (task_ids)
		AND NOT EXISTS (SELECT FROM tasks t WHERE t.id = c.task_id) AND NOT EXISTS (SELECT FROM trashed_tasks t WHERE t.id = c.task_id)
$$;
--> statement-breakpoint
CREATE FUNCTION delete_comments_of_deleted() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
	IF EXISTS (SELECT FROM old_rows WHERE comment_count > 0) THEN
		PERFORM delete_comments_of(ARRAY(SELECT id FROM old_rows WHERE comment_count > 0));
	END IF;
	RETURN NULL;
END $$;
--> statement-breakpoint
CREATE FUNCTION delete_comments_of_purged() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
	PERFORM delete_comments_of(ARRAY(SELECT id FROM old_rows));
	RETURN NULL;
END $$;
--> statement-breakpoint
-- The statement that inserts or deletes comments has locked their tasks, or deletes these too. What goes with its project is not counted.
-- A client may choose the id of a task in the trash for another: its first comment takes away those of the task that had the id before.
CREATE FUNCTION count_comments() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
	unrecorded text := coalesce(current_setting('mantou.unrecorded', true), '');
BEGIN
	IF TG_OP = 'INSERT' THEN
		IF EXISTS (SELECT FROM new_rows n JOIN tasks t ON t.id = n.task_id JOIN comments c ON c.task_id = t.id AND c.project_id = t.project_id
			WHERE t.comment_count = 0 AND NOT EXISTS (SELECT FROM new_rows m WHERE m.id = c.id)) THEN
			PERFORM set_config('mantou.unrecorded', 'on', true);
			DELETE FROM comments c USING tasks t
			WHERE t.id = c.task_id AND t.project_id = c.project_id AND t.comment_count = 0 AND t.id IN (SELECT task_id FROM new_rows)
				AND NOT EXISTS (SELECT FROM new_rows n WHERE n.id = c.id);
			PERFORM set_config('mantou.unrecorded', unrecorded, true);
		END IF;
		UPDATE tasks t SET comment_count = t.comment_count + added.count
		FROM (SELECT task_id, count(*)::int FROM new_rows GROUP BY task_id) added WHERE t.id = added.task_id;
	ELSIF EXISTS (SELECT FROM old_rows o JOIN tasks t ON t.id = o.task_id JOIN projects p ON p.id = t.project_id WHERE t.comment_count > 0) THEN
		UPDATE tasks t SET comment_count = t.comment_count - removed.count
		FROM (SELECT task_id, project_id, count(*)::int FROM old_rows GROUP BY task_id, project_id) removed
		WHERE t.id = removed.task_id AND t.project_id = removed.project_id AND t.comment_count > 0;
	END IF;
	RETURN NULL;
END $$;
--> statement-breakpoint
-- Records every comment of tasks as new: for what brings a task to where its readers do not know it.
CREATE FUNCTION record_comments_of(task_ids uuid[]) RETURNS void LANGUAGE sql SET search_path FROM CURRENT AS $$
	INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, version, fields)
	SELECT new_event_id(), current_actor(), 'comment.created', c.project_id, 'comment', c.id, c.version,
		comment_fields(c.task_id, c.body, c.author_id, c.created_at, c.edited_at) || jsonb_build_object('comment_count', t.comment_count)
	FROM comments c JOIN tasks t ON t.id = c.task_id AND t.project_id = c.project_id WHERE c.task_id = ANY (task_ids)
	ORDER BY c.created_at, c.id
$$;
--> statement-breakpoint
-- An event names the task of its comment. One that changes how many comments there are has that number, so that a copy of a task which
-- gets the same events again ends with the right one.
CREATE FUNCTION record_comment_events() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
	IF is_unrecorded() THEN
		RETURN NULL;
	END IF;
	CASE TG_OP
	WHEN 'INSERT' THEN
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, version, fields)
		SELECT new_event_id(), current_actor(), 'comment.created', n.project_id, 'comment', n.id, n.version,
			comment_fields(n.task_id, n.body, n.author_id, n.created_at, n.edited_at) || jsonb_build_object('comment_count', t.comment_count)
		FROM new_rows n JOIN tasks t ON t.id = n.task_id
		ORDER BY n.created_at, n.id;
	WHEN 'UPDATE' THEN
		-- What keeps its version has not changed for a client: a search word, a deleted author, the project of the task.
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, version, fields)
		SELECT new_event_id(), current_actor(), 'comment.updated', n.project_id, 'comment', n.id, n.version,
			changed_fields(
				comment_fields(o.task_id, o.body, o.author_id, o.created_at, o.edited_at),
				comment_fields(n.task_id, n.body, n.author_id, n.created_at, n.edited_at)) || jsonb_build_object('task_id', n.task_id)
		FROM new_rows n JOIN old_rows o USING (id) WHERE n.version <> o.version;
	WHEN 'DELETE' THEN
		-- Those that go with their task or project are gone with it.
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, version, fields)
		SELECT new_event_id(), current_actor(), 'comment.deleted', o.project_id, 'comment', o.id, 0,
			jsonb_build_object('task_id', o.task_id, 'comment_count', t.comment_count)
		FROM old_rows o JOIN tasks t ON t.id = o.task_id AND t.project_id = o.project_id JOIN projects p ON p.id = t.project_id;
	END CASE;
	RETURN NULL;
END $$;
--> statement-breakpoint
-- As before, with the number of comments; the comments of a task that moves or is restored follow it.
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
--> statement-breakpoint
-- As before, with `viewers_may_comment`.
CREATE OR REPLACE FUNCTION record_project_events() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
	IF is_unrecorded() THEN
		RETURN NULL;
	END IF;
	CASE TG_OP
	WHEN 'INSERT' THEN
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, version, fields)
		SELECT new_event_id(), coalesce(a.actor_id, current_actor()), 'project.created', n.id, 'project', n.id, n.version,
			project_fields(n.name, n.description, n.archived_at, n.created_at, n.updated_at, n.viewers_may_comment)
		FROM new_rows n LEFT JOIN actors_by_subject() a ON a.subject_id = n.id
		ORDER BY a.place;
	WHEN 'UPDATE' THEN
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, version, fields)
		SELECT new_event_id(), current_actor(), 'project.updated', n.id, 'project', n.id, n.version, changed_fields(
			project_fields(o.name, o.description, o.archived_at, o.created_at, o.updated_at, o.viewers_may_comment),
			project_fields(n.name, n.description, n.archived_at, n.created_at, n.updated_at, n.viewers_may_comment))
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
			project_fields(p.name, p.description, p.archived_at, p.created_at, p.updated_at, p.viewers_may_comment)
		FROM new_rows n JOIN old_rows o USING (project_id, user_id) JOIN projects p ON p.id = n.project_id
		WHERE o.importing_since = 'infinity' AND n.importing_since IS NULL;
		-- An import that is complete: only now there is a project.
		INSERT INTO events (id, actor_id, action, project_id, subject, subject_id, recipient_id, version, fields)
		SELECT new_event_id(), current_actor(), told.action, n.project_id, told.subject, told.subject_id, told.recipient_id, p.version, told.fields
		FROM new_rows n JOIN old_rows o USING (project_id, user_id) JOIN projects p ON p.id = n.project_id CROSS JOIN LATERAL (VALUES
			('project.created', 'project', n.project_id, NULL, project_fields(p.name, p.description, p.archived_at, p.created_at, p.updated_at, p.viewers_may_comment)),
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
--> statement-breakpoint
DROP FUNCTION task_fields(text, text, text, smallint, timestamptz, date, uuid, text[], uuid, uuid[], timestamptz, timestamptz, timestamptz, uuid);--> statement-breakpoint
DROP FUNCTION project_fields(text, text, timestamptz, timestamptz, timestamptz);
--> statement-breakpoint
CREATE TRIGGER tasks_comments_moved AFTER UPDATE OF project_id ON tasks FOR EACH ROW WHEN (OLD.project_id <> NEW.project_id) EXECUTE FUNCTION move_comments();--> statement-breakpoint
-- Triggers fire in the order of their names: the task is in the trash by then.
CREATE TRIGGER tasks_trashed_comments AFTER DELETE ON tasks REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION delete_comments_of_deleted();--> statement-breakpoint
CREATE TRIGGER trashed_tasks_comments AFTER DELETE ON trashed_tasks REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION delete_comments_of_purged();--> statement-breakpoint
-- So do these, and the events hold the new number.
CREATE TRIGGER comments_count_inserted AFTER INSERT ON comments REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION count_comments();--> statement-breakpoint
CREATE TRIGGER comments_count_deleted AFTER DELETE ON comments REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION count_comments();--> statement-breakpoint
CREATE TRIGGER comments_inserted AFTER INSERT ON comments REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION record_comment_events();--> statement-breakpoint
CREATE TRIGGER comments_updated AFTER UPDATE ON comments REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION record_comment_events();--> statement-breakpoint
CREATE TRIGGER comments_deleted AFTER DELETE ON comments REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION record_comment_events();
