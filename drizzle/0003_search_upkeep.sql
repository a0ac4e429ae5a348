DROP INDEX "projects_without_words_idx";--> statement-breakpoint
DROP INDEX "tasks_without_words_idx";--> statement-breakpoint
DROP INDEX "tasks_assignee_id_idx";--> statement-breakpoint
ALTER TABLE "projects" ADD COLUMN "words_version" integer;--> statement-breakpoint
ALTER TABLE "tasks" ADD COLUMN "words_version" integer;--> statement-breakpoint
CREATE INDEX "projects_old_words_idx" ON "projects" USING btree ("id") WHERE ("projects"."name_words" is null or "projects"."words_version" <> "projects"."version");--> statement-breakpoint
CREATE INDEX "tasks_old_words_idx" ON "tasks" USING btree ("id") WHERE ("tasks"."title_words" is null or "tasks"."words_version" <> "tasks"."version");--> statement-breakpoint
CREATE INDEX "tasks_assignee_id_created_at_idx" ON "tasks" USING btree ("assignee_id","project_id","created_at","id");