-- A list over several projects has one plan for all of them. By default PostgreSQL plans for a project of average size, and
-- then sorts every task of a large one. With one distinct value it plans for the largest project, whose frequency it knows.
ALTER TABLE "tasks" ALTER COLUMN "project_id" SET (n_distinct = 1);--> statement-breakpoint
ANALYZE "tasks" ("project_id");
