ALTER TABLE "events" ADD COLUMN "actor_token" text DEFAULT nullif(current_setting('mantou.actor_token', true), '');--> statement-breakpoint
-- A statement that writes for many users names the token of each: `mantou.actor_tokens` is a JSON object of names by task or project.
CREATE FUNCTION name_actor_token() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.actor_token := current_setting('mantou.actor_tokens', true)::json ->> NEW.subject_id::text;
	RETURN NEW;
END $$;
--> statement-breakpoint
CREATE TRIGGER events_actor_token BEFORE INSERT ON events FOR EACH ROW
WHEN (current_setting('mantou.actor_tokens', true) <> '') EXECUTE FUNCTION name_actor_token();
