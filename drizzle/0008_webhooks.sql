CREATE TABLE "webhook_deliveries" (
	"webhook_id" uuid NOT NULL,
	"event_id" uuid NOT NULL,
	"action" text NOT NULL,
	"tries" integer NOT NULL,
	"status" integer,
	"error" text,
	"duration_ms" integer,
	"response" text,
	"at" timestamp(3) with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "webhook_deliveries_webhook_id_event_id_pk" PRIMARY KEY("webhook_id","event_id")
);
--> statement-breakpoint
CREATE TABLE "webhooks" (
	"id" uuid PRIMARY KEY NOT NULL,
	"user_id" uuid NOT NULL,
	"url" text NOT NULL,
	"name" text,
	"project_id" uuid,
	"actions" text[],
	"secret" text NOT NULL,
	"previous_secret" text,
	"previous_secret_until" timestamp(3) with time zone,
	"state" text DEFAULT 'active' NOT NULL,
	"disabled_reason" text,
	"cursor" text NOT NULL,
	"tries" integer DEFAULT 0 NOT NULL,
	"failing_since" timestamp(3) with time zone,
	"next_try_at" timestamp(3) with time zone DEFAULT now() NOT NULL,
	"last_success_at" timestamp(3) with time zone,
	"last_failure_at" timestamp(3) with time zone,
	"last_failure_status" integer,
	"last_failure_error" text,
	"revision" integer DEFAULT 1 NOT NULL,
	"lease_owner" uuid,
	"lease_until" timestamp(3) with time zone,
	"created_at" timestamp(3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp(3) with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "webhooks_state_check" CHECK ("webhooks"."state" in ('active', 'paused', 'disabled'))
);
--> statement-breakpoint
ALTER TABLE "webhook_deliveries" ADD CONSTRAINT "webhook_deliveries_webhook_id_fkey" FOREIGN KEY ("webhook_id") REFERENCES "public"."webhooks"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "webhooks" ADD CONSTRAINT "webhooks_user_id_fkey" FOREIGN KEY ("user_id") REFERENCES "public"."users"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "webhook_deliveries_webhook_id_at_idx" ON "webhook_deliveries" USING btree ("webhook_id","at","event_id");--> statement-breakpoint
CREATE INDEX "webhooks_user_id_created_at_idx" ON "webhooks" USING btree ("user_id","created_at","id");--> statement-breakpoint
CREATE INDEX "webhooks_next_try_at_idx" ON "webhooks" USING btree ("next_try_at") WHERE "webhooks"."state" = 'active';