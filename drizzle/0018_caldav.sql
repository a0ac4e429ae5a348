CREATE TABLE "dav_collections" (
	"user_id" uuid NOT NULL,
	"name" text NOT NULL,
	"project_id" uuid NOT NULL,
	CONSTRAINT "dav_collections_pkey" PRIMARY KEY("user_id","name")
);
--> statement-breakpoint
CREATE TABLE "dav_items" (
	"project_id" uuid NOT NULL,
	"task_id" uuid NOT NULL,
	"name" text NOT NULL,
	"uid" text NOT NULL,
	"text" text,
	"version" integer NOT NULL,
	"written_at" timestamp(3) with time zone DEFAULT now() NOT NULL,
	"removed_at" timestamp(3) with time zone,
	CONSTRAINT "dav_items_pkey" PRIMARY KEY("task_id","project_id")
);
--> statement-breakpoint
ALTER TABLE "dav_collections" ADD CONSTRAINT "dav_collections_user_id_fkey" FOREIGN KEY ("user_id") REFERENCES "public"."users"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "dav_collections" ADD CONSTRAINT "dav_collections_project_id_fkey" FOREIGN KEY ("project_id") REFERENCES "public"."projects"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "dav_items" ADD CONSTRAINT "dav_items_project_id_fkey" FOREIGN KEY ("project_id") REFERENCES "public"."projects"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE UNIQUE INDEX "dav_collections_project_id_user_id_key" ON "dav_collections" USING btree ("project_id","user_id");--> statement-breakpoint
CREATE UNIQUE INDEX "dav_items_project_id_name_key" ON "dav_items" USING btree ("project_id","name");--> statement-breakpoint
CREATE UNIQUE INDEX "dav_items_project_id_uid_key" ON "dav_items" USING btree ("project_id","uid");--> statement-breakpoint
CREATE INDEX "dav_items_removed_at_idx" ON "dav_items" USING btree ("removed_at") WHERE "dav_items"."removed_at" is not null;--> statement-breakpoint
-- The name of a task, and what its client wrote, go with it to another project. There another task may have the same name or UID:
-- then it gets those of a task that no client has named.
CREATE FUNCTION move_dav_item() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
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
		INSERT INTO dav_items (project_id, task_id, name, uid, text, version, written_at)
		VALUES (NEW.project_id, NEW.id, item.name, item.uid, item.text, item.version, item.written_at);
	EXCEPTION WHEN unique_violation THEN
		INSERT INTO dav_items (project_id, task_id, name, uid, text, version, written_at)
		VALUES (NEW.project_id, NEW.id, NEW.id || '.ics', NEW.id::text, item.text, item.version, item.written_at);
	END;
	RETURN NULL;
END $$;
--> statement-breakpoint
CREATE TRIGGER tasks_dav_moved AFTER UPDATE OF project_id ON tasks FOR EACH ROW
WHEN (OLD.project_id <> NEW.project_id) EXECUTE FUNCTION move_dav_item();
--> statement-breakpoint
-- What a client wrote stays as long as the task can be restored; its name stays longer, for clients that were away.
CREATE FUNCTION keep_dav_names() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
	UPDATE dav_items i SET removed_at = now()
	FROM old_rows o WHERE i.task_id = o.id AND i.project_id = o.project_id;
	RETURN NULL;
END $$;
--> statement-breakpoint
CREATE TRIGGER tasks_dav_deleted AFTER DELETE ON tasks REFERENCING OLD TABLE AS old_rows
FOR EACH STATEMENT EXECUTE FUNCTION keep_dav_names();
--> statement-breakpoint
CREATE FUNCTION forget_dav_texts() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
	UPDATE dav_items i SET text = NULL
	FROM old_rows o WHERE i.task_id = o.id AND i.project_id = o.project_id
		AND NOT EXISTS (SELECT FROM tasks t WHERE t.id = o.id);
	RETURN NULL;
END $$;
--> statement-breakpoint
CREATE TRIGGER trashed_tasks_dav_purged AFTER DELETE ON trashed_tasks REFERENCING OLD TABLE AS old_rows
FOR EACH STATEMENT EXECUTE FUNCTION forget_dav_texts();
