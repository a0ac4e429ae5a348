CREATE TABLE "left_projects" (
	"user_id" uuid NOT NULL,
	"project_id" uuid NOT NULL,
	"name" text NOT NULL,
	"left_at" timestamp(3) with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "left_projects_pkey" PRIMARY KEY("user_id","project_id")
);
--> statement-breakpoint
ALTER TABLE "left_projects" ADD CONSTRAINT "left_projects_user_id_fkey" FOREIGN KEY ("user_id") REFERENCES "public"."users"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "left_projects" ADD CONSTRAINT "left_projects_project_id_fkey" FOREIGN KEY ("project_id") REFERENCES "public"."projects"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "left_projects_user_id_left_at_idx" ON "left_projects" USING btree ("user_id","left_at","project_id");--> statement-breakpoint
CREATE INDEX "left_projects_project_id_idx" ON "left_projects" USING btree ("project_id");