CREATE TABLE "idempotency_keys" (
	"user_id" uuid NOT NULL,
	"key" text NOT NULL,
	"fingerprint" text NOT NULL,
	"answer" json NOT NULL,
	"created_at" timestamp(3) with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "idempotency_keys_pkey" PRIMARY KEY("user_id","key")
);
--> statement-breakpoint
ALTER TABLE "projects" ADD COLUMN "name_key" text collate "C" DEFAULT '' NOT NULL;--> statement-breakpoint
ALTER TABLE "projects" ADD COLUMN "name_words" "tsvector";--> statement-breakpoint
ALTER TABLE "projects" ADD COLUMN "description_words" "tsvector";--> statement-breakpoint
ALTER TABLE "tasks" ADD COLUMN "title_key" text collate "C" DEFAULT '' NOT NULL;--> statement-breakpoint
ALTER TABLE "tasks" ADD COLUMN "title_words" "tsvector";--> statement-breakpoint
ALTER TABLE "tasks" ADD COLUMN "description_words" "tsvector";--> statement-breakpoint
ALTER TABLE "tasks" ADD COLUMN "label_words" "tsvector";--> statement-breakpoint
ALTER TABLE "idempotency_keys" ADD CONSTRAINT "idempotency_keys_user_id_fkey" FOREIGN KEY ("user_id") REFERENCES "public"."users"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "idempotency_keys_created_at_idx" ON "idempotency_keys" USING btree ("created_at");--> statement-breakpoint
CREATE INDEX "projects_without_words_idx" ON "projects" USING btree ("id") WHERE "projects"."name_words" is null;--> statement-breakpoint
CREATE INDEX "tasks_project_id_updated_at_idx" ON "tasks" USING btree ("project_id","updated_at","id");--> statement-breakpoint
CREATE INDEX "tasks_project_id_due_at_idx" ON "tasks" USING btree ("project_id",coalesce("due_at", 'infinity'),"id");--> statement-breakpoint
CREATE INDEX "tasks_project_id_due_at_descending_idx" ON "tasks" USING btree ("project_id",coalesce("due_at", '-infinity'),"id");--> statement-breakpoint
CREATE INDEX "tasks_project_id_priority_idx" ON "tasks" USING btree ("project_id","priority","id");--> statement-breakpoint
CREATE INDEX "tasks_project_id_title_key_idx" ON "tasks" USING btree ("project_id","title_key","id");--> statement-breakpoint
CREATE INDEX "tasks_project_id_status_idx" ON "tasks" USING btree ("project_id","status","created_at","id");--> statement-breakpoint
CREATE INDEX "tasks_words_idx" ON "tasks" USING gin (("title_words" || "description_words" || "label_words"));--> statement-breakpoint
CREATE INDEX "tasks_without_words_idx" ON "tasks" USING btree ("id") WHERE "tasks"."title_words" is null;