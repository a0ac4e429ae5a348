/** Made of `openapi.json` by `bun run openapi`: do not edit. */
export interface paths {
    "/health/live": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Liveness check */
        get: operations["isLive"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/health/ready": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Readiness check
         * @description Succeeds if the database is reachable, writable and migrated. Also fails while the process is shutting down.
         */
        get: operations["isReady"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/problems/{code}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Explain a problem code */
        get: operations["explainProblem"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/users/register": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Register
         * @description With the token of an `invitation`, the account is a member of its project from the start, also where registration is closed.
         */
        post: operations["registerUser"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/users/login": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Log in
         * @description Starts a session and returns its tokens. Accepts JSON, or the form of the OAuth2 password grant (RFC 6749 §4.3.2).
         */
        post: operations["logIn"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/users/refresh": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Refresh the tokens
         * @description Returns a new access token and a new refresh token, and invalidates the old refresh token. Reusing an old one ends the session, except that the previous one still works for 10 seconds. Accepts JSON, or the OAuth2 form (RFC 6749 §6).
         */
        post: operations["refreshSession"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/calendars/{file}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Calendar feed at a secret address (iCalendar)
         * @description What `GET /tasks/calendar.ics` returns, with the same parameters, for programs that can send no password. `POST /users/me/calendars` creates an address. One that is unknown or revoked is a 404.
         */
        get: operations["readSecretCalendar"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/users/me": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get your profile */
        get: operations["readProfile"];
        put?: never;
        post?: never;
        /**
         * Delete your account
         * @description Deletes your projects with their tasks, also those in the trash, and ends your sessions and API tokens. Your tasks in projects of others stay. Projects with other members have to be handed over first, or named for deletion with `projects`.
         */
        delete: operations["deleteAccount"];
        options?: never;
        head?: never;
        /**
         * Update your profile
         * @description A new email needs your password in `password`.
         */
        patch: operations["patchProfile"];
        trace?: never;
    };
    "/users/me/password": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        /**
         * Change your password
         * @description Ends all other sessions. API tokens keep working.
         */
        put: operations["changePassword"];
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/users/logout": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Log out */
        post: operations["logOut"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/users/me/sessions": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List your sessions */
        get: operations["listSessions"];
        put?: never;
        post?: never;
        /** Log out of all other sessions */
        delete: operations["endOtherSessions"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/users/me/sessions/{session_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /** Log out of one session */
        delete: operations["endSession"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/users/me/tokens": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List your API tokens */
        get: operations["listApiTokens"];
        put?: never;
        /**
         * Create an API token
         * @description For scripts. The token is returned once, in this response.
         */
        post: operations["createApiToken"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/users/me/tokens/{token_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /** Revoke an API token */
        delete: operations["deleteApiToken"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/users/me/calendars": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List your secret addresses */
        get: operations["listCalendarAddresses"];
        put?: never;
        /**
         * Create a secret address of the calendar
         * @description For a program that can send no password, such as Google Calendar. Create one for each program, so that it can be revoked alone. It takes the parameters of `GET /tasks/calendar.ics`.
         */
        post: operations["createCalendarAddress"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/users/me/calendars/{calendar_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /** Revoke a secret address */
        delete: operations["deleteCalendarAddress"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/users/me/left-projects": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List the projects you have left
         * @description Latest first. The owner of such a project cannot add you again.
         */
        get: operations["listLeftProjects"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/users/me/left-projects/{project_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /**
         * Allow to be added to a project again
         * @description The owner of the project can add you again. You are not added by this request.
         */
        delete: operations["forgetLeftProject"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/invitations/{token}/accept": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Accept an invitation
         * @description Makes you a member of the project. A member keeps their role, and takes no use of the invitation, so it is safe to repeat. You can join a project that you have left.
         */
        post: operations["acceptInvitation"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/users/me/webhooks": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List your webhooks */
        get: operations["listWebhooks"];
        put?: never;
        /**
         * Create a webhook
         * @description Every change that you may see is sent to `url` by POST, in order and at least once: one `Event` as JSON, as `GET /changes` has it, signed as Standard Webhooks 1.0 says (`webhook-id`, `webhook-timestamp`, `webhook-signature`). Any 2xx within 15 seconds counts as delivered. Everything else is tried again, with growing pauses of 5 seconds to 12 hours, for 5 days; then the webhook is disabled, and keeps its place. `Retry-After` is honoured, 410 disables at once, redirects are not followed. The secret is returned once, in this response.
         */
        post: operations["createWebhook"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/webhooks/{webhook_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get a webhook */
        get: operations["readWebhook"];
        put?: never;
        post?: never;
        /** Delete a webhook */
        delete: operations["deleteWebhook"];
        options?: never;
        head?: never;
        /**
         * Update a webhook
         * @description A webhook that is set `active` goes on where it stopped. Where the next events are not kept any more, it goes on with the oldest that are.
         */
        patch: operations["patchWebhook"];
        trace?: never;
    };
    "/webhooks/{webhook_id}/deliveries": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List the deliveries of a webhook
         * @description The latest 200, newest first: one item an event, with its last try.
         */
        get: operations["listWebhookDeliveries"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/webhooks/{webhook_id}/ping": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Ping a webhook
         * @description Sends an event with the action `webhook.ping` and returns what came of it. Where the receiver answers, the events that wait are tried again at once.
         */
        post: operations["pingWebhook"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/webhooks/{webhook_id}/replay": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Deliver events again
         * @description Every event after `since` is delivered again, with the same `webhook-id`.
         */
        post: operations["replayWebhook"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/webhooks/{webhook_id}/rotate-secret": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Rotate the secret of a webhook
         * @description For 24 hours deliveries carry two signatures, of the new and of the previous secret.
         */
        post: operations["rotateWebhookSecret"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/users/me/export": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Export your account
         * @description One JSON document with your profile and the projects that you own, with their members and tasks. The response is streamed.
         */
        get: operations["exportAccount"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/projects": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List your projects */
        get: operations["listProjects"];
        put?: never;
        /** Create a project */
        post: operations["createProject"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/projects/{project_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get a project */
        get: operations["readProject"];
        put?: never;
        post?: never;
        /**
         * Delete a project and its tasks
         * @description Allowed for the owner. Moves the project to the trash, with all it has.
         */
        delete: operations["deleteProject"];
        options?: never;
        head?: never;
        /**
         * Update a project
         * @description Allowed for the owner. An archived project accepts other fields only together with `"archived": false`.
         */
        patch: operations["patchProject"];
        trace?: never;
    };
    "/projects/{project_id}/members": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List a project's members
         * @description For all members.
         */
        get: operations["listMembers"];
        put?: never;
        /**
         * Add a member
         * @description Allowed for the owner. A user who has left the project gets 409 until they allow to be added again.
         */
        post: operations["addMember"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/projects/{project_id}/members/{user_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /**
         * Remove a member or leave the project
         * @description The owner removes any other member; all members may remove themselves, also from an archived project. Their tasks stay, without an assignee. The owner cannot add a member who has left again, until that user allows it with `DELETE /users/me/left-projects/{project_id}`.
         */
        delete: operations["removeMember"];
        options?: never;
        head?: never;
        /**
         * Change the role of a member
         * @description Allowed for the owner.
         */
        patch: operations["patchMember"];
        trace?: never;
    };
    "/projects/{project_id}/invitations": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List a project's invitations
         * @description Allowed for the owner. Latest first: the open ones, and the latest 100 that have ended.
         */
        get: operations["listInvitations"];
        put?: never;
        /**
         * Invite to a project
         * @description Allowed for the owner. Who has the token can join the project, and can register for that where registration is closed. A project may have 100 open invitations.
         */
        post: operations["createInvitation"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/projects/{project_id}/invitations/{invitation_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /**
         * Revoke an invitation
         * @description Allowed for the owner. Those who have accepted it stay members.
         */
        delete: operations["revokeInvitation"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/projects/{project_id}/export": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Export a project
         * @description Allowed for all members. The response is streamed, one task a line. The filters of the lists choose the tasks. JSON can be imported again; CSV holds the tasks, for spreadsheets. Without `format`, the `Accept` header decides.
         */
        get: operations["exportProject"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/projects/import": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Import a project
         * @description Creates a project from a JSON export of up to 64 MiB, completely or not at all, and makes you its owner. Assignees and creators other than you are dropped, because they are not members of the new project. A problem names the line of the task that is not valid.
         *
         *     It also takes documents of other programs: iCalendar, CSV, Todoist, Trello, Taskwarrior, todo.txt and GitHub issues, by their media type and shape. What has no place in a task is left out, cut or changed, and `report` lists it. With `dry_run=true` nothing is written, and the response is the report alone.
         */
        post: operations["importProject"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/tasks/calendar.ics": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Calendar feed (iCalendar)
         * @description The open tasks with a due date, and those done in the last 30 days, with the filters of the lists: `?assignee_id=me&priority_min=3`. `status` or `status_not` replaces this choice. A calendar program sends any user name, and an API token as the password. Archived projects are left out.
         */
        get: operations["readCalendar"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/projects/{project_id}/calendar.ics": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Calendar feed of a project (iCalendar)
         * @description The open tasks with a due date, and those done in the last 30 days, with the filters of the lists: `?assignee_id=me&priority_min=3`. `status` or `status_not` replaces this choice. A calendar program sends any user name, and an API token as the password. The calendar has the name of the project. That of an archived project is empty.
         */
        get: operations["readProjectCalendar"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/tasks/projects/{project_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List a project's tasks */
        get: operations["listTasks"];
        put?: never;
        /**
         * Create a task
         * @description Allowed for owners and editors.
         */
        post: operations["createTask"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/tasks/count": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Count tasks
         * @description Counts the tasks of all your projects, with the filters of their list.
         */
        get: operations["countTasks"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/tasks": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List tasks of all your projects */
        get: operations["listAllTasks"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/tasks/batch": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Create, update and delete tasks in one batch
         * @description Allowed for owners and editors of the projects; a viewer can set the `status` of tasks that are assigned to them. Applies all operations or none. If one is refused, `errors` of the problem names the first.
         */
        post: operations["batchTasks"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/tasks/{task_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get a task */
        get: operations["readTask"];
        /**
         * Replace a task
         * @description Allowed for owners and editors. An omitted field is reset to its default. Read-only fields may be sent back as they were read; `project_id` is among them, and PATCH moves a task.
         */
        put: operations["replaceTask"];
        post?: never;
        /**
         * Delete a task
         * @description Allowed for owners and editors. Moves the task to the trash, with its subtasks.
         */
        delete: operations["deleteTask"];
        options?: never;
        head?: never;
        /**
         * Update a task
         * @description Allowed for owners and editors; a viewer can set the `status` alone of a task that is assigned to them. An omitted field keeps its value. With `project_id`, the task moves to another project, where you have to be an owner or editor too.
         */
        patch: operations["patchTask"];
        trace?: never;
    };
    "/tasks/{task_id}/subtasks": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List a task's subtasks
         * @description Those right below the task, with any status.
         */
        get: operations["listSubtasks"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/trash": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List what you can restore
         * @description Deleted tasks of the projects in which you are an owner or an editor, and your deleted projects. Latest first. A project that was deleted has its tasks with it. Tasks of an archived project are listed once it is unarchived.
         */
        get: operations["listTrash"];
        put?: never;
        post?: never;
        /**
         * Empty the trash
         * @description Deletes for good all that the list has.
         */
        delete: operations["emptyTrash"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/trash/{trash_id}/restore": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Restore a task or a project
         * @description A task returns to its project, with its next version, and without an assignee who is no member any more. A project returns with its members, tasks and history. 409 where the project of the task is archived or in the trash itself.
         */
        post: operations["restoreFromTrash"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/trash/{trash_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /**
         * Delete from the trash
         * @description Deletes the task or the project for good.
         */
        delete: operations["deleteFromTrash"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/tasks/{task_id}/comments": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List the comments of a task */
        get: operations["listComments"];
        put?: never;
        /**
         * Comment on a task
         * @description Allowed for owners and editors, and for viewers where the project has `viewers_may_comment`. A task has up to 1000 comments.
         */
        post: operations["createComment"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/comments/{comment_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Get a comment */
        get: operations["readComment"];
        put?: never;
        post?: never;
        /**
         * Delete a comment
         * @description Allowed for the owner of the project, and for its author, who has to be allowed to comment still.
         */
        delete: operations["deleteComment"];
        options?: never;
        head?: never;
        /**
         * Edit a comment
         * @description Allowed for its author, who has to be allowed to comment still.
         */
        patch: operations["patchComment"];
        trace?: never;
    };
    "/labels": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List labels
         * @description The labels of the tasks in all your projects, by name, with the number of tasks that have them.
         */
        get: operations["listLabels"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/projects/{project_id}/labels/{label}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /**
         * Remove a label
         * @description Allowed for owners and editors. Removes the label from every task of the project. One request changes up to 2000 tasks, each of which gets a new version and an event: while `more` is true, send it again. A repetition changes nothing more.
         */
        delete: operations["removeLabel"];
        options?: never;
        head?: never;
        /**
         * Rename a label
         * @description Allowed for owners and editors. Renames the label in every task of the project; a task that has the new label too has it once. One request changes up to 2000 tasks, each of which gets a new version and an event: while `more` is true, send it again. A repetition changes nothing more.
         */
        patch: operations["renameLabel"];
        trace?: never;
    };
    "/projects/{project_id}/events": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List a project's events, newest first
         * @description For all members.
         */
        get: operations["listEvents"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/changes": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List changes since a cursor
         * @description For a client that keeps a copy of its projects. Begin with `snapshot=true`, then always send the last `next_cursor` as `since`; a page with fewer items than `limit` is the last one for now, and `wait` waits for the next. Apply an event only to a resource with a lower version. On `access.granted`, read the whole project: `snapshot=true` with its `project_id`, and the cursor of the event as `since`. Ignore events of projects that you do not have. On `cursor_expired`, start again with a snapshot.
         */
        get: operations["listChanges"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/changes/stream": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Stream changes (server-sent events)
         * @description Sends server-sent events of type `change`, each with an `Event` as `data` and its cursor as `id`. A client that reconnects sends the last `id` as `Last-Event-ID` and misses nothing. The stream ends when the access token expires: get the next token, then reconnect. While the database is away the stream stays open and sends comments alone. `EventSource` cannot send the `Authorization` header, so browsers read the stream with `fetch`, as `examples/browser-stream.js` does.
         */
        get: operations["streamChanges"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/mcp": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Send a message of the Model Context Protocol
         * @description For agents. `tools/list` returns the tools that the token may call, and `tools/call` calls one; the guide "Agents" names the rest. A token with the scope `read` reads. A request whose `Origin` is another site is refused, unless `CORS_ORIGINS` names it.
         */
        post: operations["callMcp"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/metrics": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Metrics (Prometheus)
         * @description Served on a separate port if `METRICS_PORT` is set. Not available on Cloudflare Workers.
         */
        get: operations["readMetrics"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        AccountDeletion: {
            /**
             * @description Your password. The deletion cannot be undone.
             * @example correct horse battery staple
             */
            password: string;
            /**
             * @description `delete`: also delete the projects that you own and that have other members. Without it such a project is a reason to refuse.
             * @example delete
             * @enum {string}
             */
            projects?: "delete";
        };
        /** @description The data that an account owns. */
        AccountExport: {
            /**
             * @constant
             * @enum {string}
             */
            format: "mantou-account";
            /** @constant */
            format_version: 1;
            /**
             * Format: date-time
             * @description When the export was made.
             * @example 2026-11-23T03:14:07.123Z
             */
            exported_at: string;
            user: components["schemas"]["User"];
            projects: components["schemas"]["ProjectWithTasks"][];
        };
        ApiToken: {
            /**
             * Format: uuid
             * @description The API token.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            id: string;
            /**
             * @description What the token is for.
             * @example nightly report
             */
            name: string;
            /**
             * @description `read` allows reading. `write` requires `read`.
             * @example [
             *       "read",
             *       "write"
             *     ]
             */
            scopes: ("read" | "write")[];
            /**
             * @description When the token expires; null: never.
             * @example null
             */
            expires_at: string | null;
            /**
             * @description When the token was last used, to the minute; null: never.
             * @example null
             */
            last_used_at: string | null;
            /**
             * Format: date-time
             * @description When the token was created.
             * @example 2026-11-23T03:14:07.123Z
             */
            created_at: string;
        };
        ApiTokenCreate: {
            /**
             * @description What the token is for.
             * @example nightly report
             */
            name: string;
            /**
             * @description `read` allows reading. `write` requires `read`.
             * @example [
             *       "read",
             *       "write"
             *     ]
             */
            scopes: ("read" | "write")[];
            /**
             * @description When the token expires. Null or omitted: never. At most three decimals.
             * @example null
             */
            expires_at?: string | null;
        };
        ApiTokenCreated: {
            /**
             * Format: uuid
             * @description The API token.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            id: string;
            /**
             * @description What the token is for.
             * @example nightly report
             */
            name: string;
            /**
             * @description `read` allows reading. `write` requires `read`.
             * @example [
             *       "read",
             *       "write"
             *     ]
             */
            scopes: ("read" | "write")[];
            /**
             * @description When the token expires; null: never.
             * @example null
             */
            expires_at: string | null;
            /**
             * @description When the token was last used, to the minute; null: never.
             * @example null
             */
            last_used_at: string | null;
            /**
             * Format: date-time
             * @description When the token was created.
             * @example 2026-11-23T03:14:07.123Z
             */
            created_at: string;
            /**
             * @description Send it as `Authorization: Bearer`. Returned only in this response.
             * @example mt_q3Xv1mJ0b9K7yT5sR2wZ8nL4cF6hG1dE0aU9iO3pVxY
             */
            token: string;
        };
        ApiTokenPage: {
            items: components["schemas"]["ApiToken"][];
            /**
             * @description Send it as `cursor` to get the next page; null on the last page.
             * @example WyJwcm9qZWN0cyJd
             */
            next_cursor: string | null;
        };
        /**
         * @description An iCalendar document (RFC 5545) with a `VTODO` or a `VEVENT` for each task.
         * @example BEGIN:VCALENDAR
         *     VERSION:2.0
         *     PRODID:-//mantou//mantou//EN
         *     END:VCALENDAR
         */
        Calendar: string;
        CalendarAddress: {
            /**
             * Format: uuid
             * @description The address.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            id: string;
            /**
             * @description The program that reads the calendar.
             * @example phone
             */
            name: string;
            /**
             * @description When a program last read the calendar there, to the minute; null: never.
             * @example null
             */
            last_used_at: string | null;
            /**
             * Format: date-time
             * @description When the address was created.
             * @example 2026-11-23T03:14:07.123Z
             */
            created_at: string;
        };
        CalendarAddressCreate: {
            /**
             * @description The program that reads the calendar.
             * @example phone
             */
            name: string;
        };
        CalendarAddressCreated: {
            /**
             * Format: uuid
             * @description The address.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            id: string;
            /**
             * @description The program that reads the calendar.
             * @example phone
             */
            name: string;
            /**
             * @description When a program last read the calendar there, to the minute; null: never.
             * @example null
             */
            last_used_at: string | null;
            /**
             * Format: date-time
             * @description When the address was created.
             * @example 2026-11-23T03:14:07.123Z
             */
            created_at: string;
            /**
             * @description Give it to the program. A client that knows it reads the calendar. Returned only in this response; absolute where the server knows its public URL.
             * @example https://todo.example.org/calendars/q3Xv1mJ0b9K7yT5sR2wZ8nL4cF6hG1dE0aU9iO3pVxY.ics
             */
            url: string;
        };
        CalendarAddressPage: {
            items: components["schemas"]["CalendarAddress"][];
            /**
             * @description Send it as `cursor` to get the next page; null on the last page.
             * @example WyJwcm9qZWN0cyJd
             */
            next_cursor: string | null;
        };
        ChangePage: {
            items: components["schemas"]["Event"][];
            snapshot?: components["schemas"]["Snapshot"];
            /**
             * @description Send it as `since` to get later changes. Never null.
             * @example WyJhIiwiYiIsMTJd
             */
            next_cursor: string;
        };
        Comment: {
            /**
             * Format: uuid
             * @description The comment.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            id: string;
            /**
             * Format: uuid
             * @description The task it belongs to.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            task_id: string;
            /**
             * @description The author; null after the account was deleted.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            author_id: string | null;
            /**
             * @description Markdown, kept and returned as text.
             * @example Slate, please: it hides **everything**.
             */
            body: string;
            /**
             * Format: date-time
             * @description When the comment was written.
             * @example 2026-11-23T03:14:07.123Z
             */
            created_at: string;
            /**
             * @description When the comment was last edited; null if it never was.
             * @example null
             */
            edited_at: string | null;
            /**
             * Format: int32
             * @description Increases by one with each edit.
             * @example 1
             */
            version: number;
        };
        CommentCreate: {
            /**
             * Format: uuid
             * @description A UUIDv7 that you choose for the comment, not more than a day ahead of the clock. If it exists, the response is `id_taken`. If omitted, the server chooses one.
             */
            id?: string;
            /**
             * @description Markdown, kept and returned as text.
             * @example Slate, please: it hides **everything**.
             */
            body: string;
        };
        CommentPage: {
            items: components["schemas"]["Comment"][];
            /**
             * @description Send it as `cursor` to get the next page; null on the last page.
             * @example WyJwcm9qZWN0cyJd
             */
            next_cursor: string | null;
        };
        /** @description A merge patch (RFC 7396): an omitted field keeps its value. */
        CommentPatch: {
            /**
             * @description Markdown, kept and returned as text.
             * @example Slate, please: it hides **everything**.
             */
            body?: string;
            /**
             * Format: int32
             * @description Write only on this version, as `If-Match` does.
             */
            version?: number;
        };
        Credentials: {
            /**
             * @description Sent by OAuth2 clients (RFC 6749); optional.
             * @constant
             * @enum {string}
             */
            grant_type?: "password";
            /**
             * @description The user name or the email.
             * @example ada
             */
            username: string;
            /**
             * @description The password of the account.
             * @example correct horse battery staple
             */
            password: string;
            /** @description Ignored. */
            scope?: string;
            /** @description Ignored. */
            client_id?: string;
            /** @description Ignored. */
            client_secret?: string;
        };
        Event: {
            /**
             * @description The position in your feed. Send it as `since` to get later events.
             * @example WyJhIiwiYiIsMTJd
             */
            cursor: string;
            /**
             * Format: uuid
             * @description The event.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            id: string;
            /**
             * Format: date-time
             * @description When it happened.
             * @example 2026-11-23T03:14:07.123Z
             */
            at: string;
            /**
             * @description The user who made the change; null if unknown.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            actor_id: string | null;
            /**
             * @description The name of the API token that the change came with; null for a session.
             * @example planner
             */
            actor_token: string | null;
            /**
             * @description What happened. A task that moves to another project is `task.deleted` in the one and `task.created` in the other, with its id and its next version, and a `comment.created` for each of its comments. `task.restored` is a task that left the trash, followed by its comments as well. Comments leave with their task without an event of their own. `access.granted` and `access.lost` are sent only to you: after the first you can see the project, after the second you cannot, whether it was deleted or not. `project.deleted` and `project.restored` are in its history.
             * @example task.updated
             */
            action: components["schemas"]["EventAction"];
            /**
             * Format: uuid
             * @description The project it belongs to.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            project_id: string;
            /**
             * @description The kind of resource that changed.
             * @example task
             */
            subject: components["schemas"]["EventSubject"];
            /**
             * Format: uuid
             * @description The id of the task, comment or project, or of the user who is a member.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            subject_id: string;
            /**
             * Format: int32
             * @description The version after this change, of the task or comment, or otherwise of the project; 0 after a deletion.
             * @example 2
             */
            version: number;
            /**
             * @description The changed fields with their new values, and `after`, the task after which one was put by hand; all fields of a new or restored resource, and those that a deleted task had. An event of a comment always has its `task_id`, and, where there is one comment more or less, `comment_count`: how many the task has now.
             * @example {
             *       "status": "done"
             *     }
             */
            fields: {
                [key: string]: unknown;
            };
        };
        /** @enum {string} */
        EventAction: "project.created" | "project.updated" | "project.deleted" | "project.restored" | "member.added" | "member.updated" | "member.removed" | "task.created" | "task.updated" | "task.deleted" | "task.restored" | "comment.created" | "comment.updated" | "comment.deleted" | "access.granted" | "access.lost";
        EventPage: {
            items: components["schemas"]["Event"][];
            /**
             * @description Send it as `cursor` to get the next page; null on the last page.
             * @example WyJwcm9qZWN0cyJd
             */
            next_cursor: string | null;
        };
        /** @enum {string} */
        EventSubject: "project" | "member" | "task" | "comment";
        ExportedComment: {
            /**
             * Format: uuid
             * @description A UUIDv7 that you choose for the comment in an import, not more than a day ahead of the clock. If it exists, the response is `id_taken`. If omitted, the server chooses one.
             */
            id?: string;
            /**
             * Format: uuid
             * @description The `ref` of its task, which comes before it. A comment on a task that is not in the document is left out by an import.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            task: string;
            /**
             * @description Markdown, kept and returned as text.
             * @example Slate, please: it hides **everything**.
             */
            body: string;
            /**
             * @description The user name of the author; null after the account was deleted.
             * @example ada
             */
            author: string | null;
            /**
             * Format: date-time
             * @description When the comment was written.
             * @example 2026-11-23T03:14:07.123Z
             */
            created_at: string;
            /**
             * @description When the comment was last edited; null if it never was.
             * @example null
             */
            edited_at: string | null;
        };
        ExportedProject: {
            /**
             * Format: uuid
             * @description A UUIDv7 that you choose for the project in an import, where it comes before the tasks, not more than a day ahead of the clock. If it exists, the response is `id_taken`. If omitted, the server chooses one.
             */
            id?: string;
            /** @example Kitchen */
            name: string;
            /** @example New tiles, new light */
            description: string | null;
            /**
             * @description Since when the project is archived and read-only; null if it is not.
             * @example null
             */
            archived_at: string | null;
            /**
             * Format: date-time
             * @description When the project was created.
             * @example 2026-11-23T03:14:07.123Z
             */
            created_at: string;
            /**
             * Format: date-time
             * @description When the project last changed.
             * @example 2026-11-23T03:14:07.123Z
             */
            updated_at: string;
            /**
             * @description Whether viewers may write comments. False in a new project.
             * @example false
             */
            viewers_may_comment?: boolean;
        };
        ExportedTask: {
            /**
             * Format: uuid
             * @description A UUIDv7 that you choose for the task in an import, not more than a day ahead of the clock. If it exists, the response is `id_taken`. If omitted, the server chooses one.
             */
            id?: string;
            /** @example Choose the tiles */
            title: string;
            /** @example Slate or terracotta? */
            description: string | null;
            /**
             * @description Setting `done` sets `completed_at`; any other status clears it.
             * @example todo
             */
            status: components["schemas"]["TaskStatus"];
            /**
             * Format: int32
             * @description From 0 (none) to 4 (urgent).
             * @example 2
             */
            priority: number;
            /**
             * @description When the task is due, if it has a time.
             * @example 2026-11-23T03:14:07.123Z
             */
            due_at: string | null;
            /**
             * @description The day on which the task is due, if it has no time.
             * @example null
             */
            due_on?: string | null;
            /**
             * @description The user name of the assignee.
             * @example null
             */
            assignee: string | null;
            /**
             * @example [
             *       "shopping"
             *     ]
             */
            labels: string[];
            /**
             * @description When the status became `done`; null for any other status.
             * @example null
             */
            completed_at: string | null;
            /**
             * Format: date-time
             * @description When the task was created.
             * @example 2026-11-23T03:14:07.123Z
             */
            created_at: string;
            /**
             * Format: date-time
             * @description When the task last changed.
             * @example 2026-11-23T03:14:07.123Z
             */
            updated_at: string;
            /**
             * @description The user name of the creator; null after the account was deleted.
             * @example ada
             */
            created_by: string | null;
            /** @description The place of a task that was put somewhere in the order by hand. */
            position?: string;
            /**
             * Format: uuid
             * @description A name of this task in the document, to which other tasks and comments refer. It is no id after an import.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            ref?: string;
            /**
             * Format: uuid
             * @description The `ref` of the task of which this is a subtask.
             */
            parent?: string;
            /**
             * @description The `ref` of each task that blocks this one. One that is not in the document is left out by an import, as is such a parent.
             * @example []
             */
            blocked_by?: string[];
        };
        /**
         * @description A document of another program: iCalendar (RFC 5545) as `text/calendar`, tasks or a Todoist export as `text/csv`, todo.txt as `text/plain`, in UTF-8.
         * @example x 2026-11-28 Call the tiler +Kitchen @phone
         */
        ForeignText: string;
        Health: {
            /**
             * @constant
             * @enum {string}
             */
            status: "ok";
        };
        ImportNote: {
            /**
             * Format: int32
             * @description The line of the document on which the item begins.
             * @example 12
             */
            line: number;
            /**
             * @description The place of the item in the document, from 0; null for the document itself.
             * @example 3
             */
            item: number | null;
            /**
             * @description The title of the task, up to 100 characters.
             * @example Choose the tiles
             */
            title: string | null;
            /**
             * @description What happened: `item_left_out`: it is no task, or none any more; `item_repeated`: it has the identifier of a task before it; `field_left_out`: it has no place in a task; `person_left_out`: it is not a member of the new project; `parent_left_out`: it is not kept, because it is not in the document or in another project, or too many levels down: the task stands by itself; `link_left_out`: it is not kept: it is no task of the document that comes first, or one too many; `recurrence_left_out`: it is not kept: only the next date is; `reminder_left_out`: it is not kept: tasks have no reminders; `date_left_out`: it is no date, or none of the years 1970 to 9999; `label_left_out`: it is blank, repeated or beyond 20 labels; `label_changed`: it is cut to 50 characters, or has a space in place of a comma; `title_missing`: it is replaced by "Untitled"; `title_cut`: it is cut to 500 characters; the description begins with all of it; `title_changed`: it has a space in place of each line break; `description_cut`: it is cut to 20,000 characters; `text_changed`: it has lost characters that are not valid in a text; `priority_changed`: it is not known: the task has none; `status_changed`: it is not known or not given: the task has the nearest; `time_zone_unknown`: it is not known: the time is taken in the time zone of the import; `completed_at_assumed`: it is not given: the last change, or now, is taken; `moved_to_description`: it stands in the description; `project_changed`: it is not valid as a name, or names one of too many projects.
             * @example recurrence_left_out
             * @enum {string}
             */
            code: "item_left_out" | "item_repeated" | "field_left_out" | "person_left_out" | "parent_left_out" | "link_left_out" | "recurrence_left_out" | "reminder_left_out" | "date_left_out" | "label_left_out" | "label_changed" | "title_missing" | "title_cut" | "title_changed" | "description_cut" | "text_changed" | "priority_changed" | "status_changed" | "time_zone_unknown" | "completed_at_assumed" | "moved_to_description" | "project_changed";
            /**
             * @description The field, as the document names it.
             * @example RRULE
             */
            field: string;
            /**
             * @description The value in the document, up to 100 characters.
             * @example FREQ=WEEKLY
             */
            value: string | null;
            /**
             * @description The code in words.
             * @example is not kept: only the next date is
             */
            message: string;
        };
        /** @description What an import makes of a document, and what it leaves out, cuts or changes. */
        ImportReport: {
            /**
             * @description The format of the document.
             * @example icalendar
             * @enum {string}
             */
            format: "mantou" | "icalendar" | "csv" | "todoist" | "trello" | "taskwarrior" | "todotxt" | "github";
            /**
             * @description The time zone in which times without one were taken.
             * @example Europe/Berlin
             */
            time_zone: string;
            /** @description The projects, in the order of the document. */
            projects: {
                /**
                 * @description The name of the project.
                 * @example Kitchen
                 */
                name: string;
                /**
                 * Format: int32
                 * @description The number of its tasks.
                 * @example 1
                 */
                tasks: number;
            }[];
            /**
             * Format: int32
             * @description The number of tasks.
             * @example 1
             */
            tasks: number;
            /**
             * Format: int32
             * @description The number of items that became no task.
             * @example 0
             */
            left_out: number;
            /**
             * Format: int32
             * @description The number of notes.
             * @example 1
             */
            notes_total: number;
            /** @description How many notes there are with each code that occurs. */
            codes: {
                /**
                 * @description What happened: `item_left_out`: it is no task, or none any more; `item_repeated`: it has the identifier of a task before it; `field_left_out`: it has no place in a task; `person_left_out`: it is not a member of the new project; `parent_left_out`: it is not kept, because it is not in the document or in another project, or too many levels down: the task stands by itself; `link_left_out`: it is not kept: it is no task of the document that comes first, or one too many; `recurrence_left_out`: it is not kept: only the next date is; `reminder_left_out`: it is not kept: tasks have no reminders; `date_left_out`: it is no date, or none of the years 1970 to 9999; `label_left_out`: it is blank, repeated or beyond 20 labels; `label_changed`: it is cut to 50 characters, or has a space in place of a comma; `title_missing`: it is replaced by "Untitled"; `title_cut`: it is cut to 500 characters; the description begins with all of it; `title_changed`: it has a space in place of each line break; `description_cut`: it is cut to 20,000 characters; `text_changed`: it has lost characters that are not valid in a text; `priority_changed`: it is not known: the task has none; `status_changed`: it is not known or not given: the task has the nearest; `time_zone_unknown`: it is not known: the time is taken in the time zone of the import; `completed_at_assumed`: it is not given: the last change, or now, is taken; `moved_to_description`: it stands in the description; `project_changed`: it is not valid as a name, or names one of too many projects.
                 * @example recurrence_left_out
                 * @enum {string}
                 */
                code: "item_left_out" | "item_repeated" | "field_left_out" | "person_left_out" | "parent_left_out" | "link_left_out" | "recurrence_left_out" | "reminder_left_out" | "date_left_out" | "label_left_out" | "label_changed" | "title_missing" | "title_cut" | "title_changed" | "description_cut" | "text_changed" | "priority_changed" | "status_changed" | "time_zone_unknown" | "completed_at_assumed" | "moved_to_description" | "project_changed";
                /**
                 * Format: int32
                 * @description How often it occurs.
                 * @example 1
                 */
                count: number;
            }[];
            /** @description The first 1000 notes, in the order of the document. */
            notes: components["schemas"]["ImportNote"][];
        };
        Invitation: {
            /**
             * Format: uuid
             * @description The invitation.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            id: string;
            /**
             * @description The role of those who accept.
             * @example viewer
             * @enum {string}
             */
            role: "editor" | "viewer";
            /**
             * @description Only an `open` invitation can be accepted.
             * @example open
             */
            state: components["schemas"]["InvitationState"];
            /**
             * Format: int32
             * @description How many users have accepted.
             * @example 0
             */
            uses: number;
            /**
             * Format: int32
             * @description How many users can accept.
             * @example 1
             */
            uses_max: number;
            /**
             * Format: date-time
             * @description When the invitation expires.
             * @example 2026-11-23T03:14:07.123Z
             */
            expires_at: string;
            /**
             * Format: date-time
             * @description When the invitation was created.
             * @example 2026-11-23T03:14:07.123Z
             */
            created_at: string;
        };
        InvitationCreate: {
            /**
             * @description The role of those who accept.
             * @example viewer
             * @enum {string}
             */
            role: "editor" | "viewer";
            /**
             * Format: date-time
             * @description When the invitation expires, up to 90 days ahead. Omitted: in 7 days. At most three decimals.
             * @example 2026-12-24T18:00:00+01:00
             */
            expires_at?: string;
            /**
             * Format: int32
             * @description How many users can accept.
             * @default 1
             * @example 1
             */
            uses_max: number;
        };
        InvitationCreated: {
            /**
             * Format: uuid
             * @description The invitation.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            id: string;
            /**
             * @description The role of those who accept.
             * @example viewer
             * @enum {string}
             */
            role: "editor" | "viewer";
            /**
             * @description Only an `open` invitation can be accepted.
             * @example open
             */
            state: components["schemas"]["InvitationState"];
            /**
             * Format: int32
             * @description How many users have accepted.
             * @example 0
             */
            uses: number;
            /**
             * Format: int32
             * @description How many users can accept.
             * @example 1
             */
            uses_max: number;
            /**
             * Format: date-time
             * @description When the invitation expires.
             * @example 2026-11-23T03:14:07.123Z
             */
            expires_at: string;
            /**
             * Format: date-time
             * @description When the invitation was created.
             * @example 2026-11-23T03:14:07.123Z
             */
            created_at: string;
            /**
             * @description Give it to those whom you invite: it is all that they need. Returned only in this response.
             * @example mi_q3Xv1mJ0b9K7yT5sR2wZ8nL4cF6hG1dE0aU9iO3pVxY
             */
            token: string;
        };
        InvitationPage: {
            items: components["schemas"]["Invitation"][];
            /**
             * @description Send it as `cursor` to get the next page; null on the last page.
             * @example WyJwcm9qZWN0cyJd
             */
            next_cursor: string | null;
        };
        /** @enum {string} */
        InvitationState: "open" | "used_up" | "expired" | "revoked";
        Label: {
            /**
             * @description The label, exactly as written.
             * @example shopping
             */
            name: string;
            /**
             * Format: int32
             * @description How many tasks have it.
             * @example 3
             */
            count: number;
        };
        LabelChange: {
            /**
             * Format: int32
             * @description How many tasks this request has changed.
             * @example 3
             */
            changed: number;
            /**
             * @description Whether tasks with the old label may be left: send the request again.
             * @example false
             */
            more: boolean;
        };
        LabelPage: {
            items: components["schemas"]["Label"][];
            /**
             * @description Send it as `cursor` to get the next page; null on the last page.
             * @example WyJwcm9qZWN0cyJd
             */
            next_cursor: string | null;
            /**
             * @description Whether there are tasks beyond the 20000 that were read, the latest of each project. Then counts may be higher, and a label of older tasks may be missing.
             * @example false
             */
            more: boolean;
        };
        LabelRename: {
            /**
             * @description The label, exactly as written.
             * @example shopping
             */
            name: string;
        };
        LeftProject: {
            /**
             * Format: uuid
             * @description The project.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            project_id: string;
            /**
             * @description The name of the project when you left it.
             * @example Kitchen
             */
            name: string;
            /**
             * Format: date-time
             * @description When you left it.
             * @example 2026-11-23T03:14:07.123Z
             */
            left_at: string;
        };
        LeftProjectPage: {
            items: components["schemas"]["LeftProject"][];
            /**
             * @description Send it as `cursor` to get the next page; null on the last page.
             * @example WyJwcm9qZWN0cyJd
             */
            next_cursor: string | null;
        };
        McpError: {
            /**
             * @constant
             * @enum {string}
             */
            jsonrpc: "2.0";
            /** @example 1 */
            id: (string | number) | null;
            /** @description What the protocol refuses. A problem of a tool is a result with `isError`. */
            error: {
                /**
                 * Format: int32
                 * @example -32601
                 */
                code: number;
                /** @example Method not found */
                message: string;
                data?: {
                    [key: string]: unknown;
                };
            };
        };
        /** @description A request or a notification of JSON-RPC 2.0. A batch of messages is refused. */
        McpMessage: {
            /**
             * @constant
             * @enum {string}
             */
            jsonrpc: "2.0";
            /**
             * @description Names the request in its response. A notification has none.
             * @example 1
             */
            id?: string | number;
            /**
             * @description For example `tools/list` or `tools/call`.
             * @example tools/list
             */
            method: string;
            /** @description What the method takes. */
            params?: {
                [key: string]: unknown;
            };
        };
        McpResponse: {
            /**
             * @constant
             * @enum {string}
             */
            jsonrpc: "2.0";
            /**
             * @description Names the request in its response. A notification has none.
             * @example 1
             */
            id: string | number;
            /**
             * @example {
             *       "tools": []
             *     }
             */
            result?: {
                [key: string]: unknown;
            };
            /** @description What the protocol refuses. A problem of a tool is a result with `isError`. */
            error?: {
                /**
                 * Format: int32
                 * @example -32601
                 */
                code: number;
                /** @example Method not found */
                message: string;
                data?: {
                    [key: string]: unknown;
                };
            };
        };
        Member: {
            /**
             * Format: uuid
             * @description The user.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            user_id: string;
            /** @example bob */
            username: string;
            /**
             * @description An `owner` can do everything, an `editor` can write tasks, a `viewer` can read and set the status of tasks that are assigned to them. All see the members.
             * @example editor
             */
            role: components["schemas"]["Role"];
            /**
             * Format: date-time
             * @description When the user became a member.
             * @example 2026-11-23T03:14:07.123Z
             */
            created_at: string;
        };
        MemberCreate: {
            /**
             * @description The user name, in upper or lower case.
             * @example bob
             */
            username: string;
            /**
             * @description The role. A project has one owner; to transfer it, change the role of a member.
             * @example editor
             * @enum {string}
             */
            role: "editor" | "viewer";
        };
        MemberPage: {
            items: components["schemas"]["Member"][];
            /**
             * @description Send it as `cursor` to get the next page; null on the last page.
             * @example WyJwcm9qZWN0cyJd
             */
            next_cursor: string | null;
        };
        /** @description A merge patch (RFC 7396): an omitted field keeps its value. */
        MemberPatch: {
            /**
             * @description An `owner` can do everything, an `editor` can write tasks, a `viewer` can read and set the status of tasks that are assigned to them. All see the members. Setting `owner` transfers the project: you become an editor.
             * @example viewer
             */
            role?: components["schemas"]["Role"];
        };
        Membership: {
            /**
             * Format: uuid
             * @description The project.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            project_id: string;
            /**
             * Format: uuid
             * @description The user.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            user_id: string;
            /** @example bob */
            username: string;
            /**
             * @description An `owner` can do everything, an `editor` can write tasks, a `viewer` can read and set the status of tasks that are assigned to them. All see the members.
             * @example editor
             */
            role: components["schemas"]["Role"];
            /**
             * Format: date-time
             * @description When the user became a member.
             * @example 2026-11-23T03:14:07.123Z
             */
            created_at: string;
        };
        /**
         * @description Prometheus' text format.
         * @example http_request_duration_seconds_count{method="GET",route="/tasks/{task_id}",status="200"} 1
         */
        Metrics: string;
        PasswordChange: {
            /**
             * @description The current password.
             * @example correct horse battery staple
             */
            current_password: string;
            /**
             * @description Any characters, compared in Unicode normal form NFKC. Common passwords are refused.
             * @example correct horse battery staple
             */
            new_password: string;
        };
        Person: {
            /**
             * Format: uuid
             * @description The user.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            id: string;
            /**
             * @description The user name.
             * @example ada
             */
            username: string;
        };
        Problem: {
            /**
             * @description The path that explains the code.
             * @example /problems/validation_failed
             */
            type: string;
            /** @example Invalid request */
            title: string;
            /**
             * Format: int32
             * @example 422
             */
            status: number;
            /**
             * @description Identifies the kind of problem. Codes are stable.
             * @example validation_failed
             */
            code: components["schemas"]["ProblemCode"];
            /** @example 1 field is not valid */
            detail: string;
            /**
             * @description The `X-Request-Id` of this response, for finding it in the log.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            request_id: string;
            errors?: {
                /** @example body.title */
                location: string;
                /** @example too_long */
                code: string;
                /** @example at most 500 characters */
                message: string;
            }[];
            /**
             * Format: int32
             * @description The present version of the resource, for `precondition_failed`: in a batch, of the task that `errors` locates.
             * @example 4
             */
            version?: number;
            /** @description The OAuth2 error (RFC 6749 §5.2), for requests with the OAuth2 form. */
            error?: string;
            /** @description The OAuth2 error (RFC 6749 §5.2), for requests with the OAuth2 form. */
            error_description?: string;
        };
        /** @enum {string} */
        ProblemCode: "malformed_json" | "malformed_request" | "unauthenticated" | "invalid_token" | "token_expired" | "invalid_credentials" | "invalid_refresh_token" | "forbidden" | "insufficient_scope" | "webdav_condition" | "registration_closed" | "not_found" | "method_not_allowed" | "username_taken" | "email_taken" | "id_taken" | "conflict" | "shared_projects" | "idempotency_in_flight" | "cursor_expired" | "invitation_ended" | "precondition_failed" | "payload_too_large" | "unsupported_media_type" | "validation_failed" | "weak_password" | "invalid_cursor" | "idempotency_key_reused" | "rate_limited" | "internal" | "not_implemented" | "database_unavailable" | "overloaded";
        ProblemExplanation: {
            /**
             * @description Identifies the kind of problem. Codes are stable.
             * @example validation_failed
             */
            code: components["schemas"]["ProblemCode"];
            /**
             * Format: int32
             * @example 422
             */
            status: number;
            /** @example Invalid request */
            title: string;
            /** @example `errors` lists each field that is not valid. */
            explanation: string;
        };
        Project: {
            /**
             * Format: uuid
             * @description The project.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            id: string;
            /** @example Kitchen */
            name: string;
            /** @example New tiles, new light */
            description: string | null;
            /**
             * @description Since when the project is archived and read-only; null if it is not.
             * @example null
             */
            archived_at: string | null;
            /**
             * @description Whether viewers may write comments. False in a new project.
             * @example false
             */
            viewers_may_comment: boolean;
            /**
             * Format: date-time
             * @description When the project was created.
             * @example 2026-11-23T03:14:07.123Z
             */
            created_at: string;
            /**
             * Format: date-time
             * @description When the project last changed.
             * @example 2026-11-23T03:14:07.123Z
             */
            updated_at: string;
            /**
             * Format: int32
             * @description Increases by one with each change.
             * @example 1
             */
            version: number;
            /**
             * @description Your role in the project.
             * @example owner
             */
            role: components["schemas"]["Role"];
        };
        ProjectCreate: {
            /**
             * Format: uuid
             * @description A UUIDv7 that you choose for the project, not more than a day ahead of the clock. If it exists, the response is `id_taken`. If omitted, the server chooses one.
             */
            id?: string;
            /** @example Kitchen */
            name: string;
            /** @example New tiles, new light */
            description?: string | null;
        };
        /** @description A project with its tasks and their comments: users are named by user name. Each task and each comment is on its own line. An export has no ids. */
        ProjectExport: {
            /**
             * @constant
             * @enum {string}
             */
            format: "mantou-project";
            /** @constant */
            format_version: 1;
            /**
             * Format: date-time
             * @description When the export was made.
             * @example 2026-11-23T03:14:07.123Z
             */
            exported_at: string;
            project: components["schemas"]["ExportedProject"];
            /** @description The tasks, oldest first. */
            tasks: components["schemas"]["ExportedTask"][];
            /** @description The comments on these tasks, which come before them, oldest first. */
            comments?: components["schemas"]["ExportedComment"][];
        };
        ProjectImported: {
            project: components["schemas"]["Project"];
            /**
             * Format: int32
             * @description The number of tasks.
             * @example 1
             */
            tasks: number;
            /**
             * Format: int32
             * @description The number of comments.
             * @example 0
             */
            comments: number;
            /**
             * Format: int32
             * @description The number of tasks that lost their assignee, because that user is not a member of the new project.
             * @example 1
             */
            unassigned_total: number;
            /** @description The first tasks that lost their assignee. */
            unassigned: {
                /**
                 * Format: int32
                 * @description The line of the document.
                 * @example 4
                 */
                line: number;
                /**
                 * Format: uuid
                 * @description The task.
                 * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
                 */
                task_id: string;
                /**
                 * @description The assignee in the document.
                 * @example grace
                 */
                username: string;
            }[];
            /** @description All new projects, of which `project` is the first. Only for a document of another program. */
            projects?: components["schemas"]["Project"][];
            report?: components["schemas"]["ImportReport"];
        };
        ProjectPage: {
            items: components["schemas"]["Project"][];
            /**
             * @description Send it as `cursor` to get the next page; null on the last page.
             * @example WyJwcm9qZWN0cyJd
             */
            next_cursor: string | null;
        };
        /** @description A merge patch (RFC 7396): an omitted field keeps its value, null clears it. */
        ProjectPatch: {
            /** @example Kitchen */
            name?: string;
            /** @example New tiles, new light */
            description?: string | null;
            /**
             * @description An archived project is read-only until it is unarchived.
             * @example false
             */
            archived?: boolean;
            /**
             * @description Whether viewers may write comments. False in a new project.
             * @example false
             */
            viewers_may_comment?: boolean;
            /**
             * Format: int32
             * @description Write only on this version, as `If-Match` does.
             */
            version?: number;
        };
        ProjectWithTasks: {
            /**
             * Format: uuid
             * @description The project.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            id: string;
            /** @example Kitchen */
            name: string;
            /** @example New tiles, new light */
            description: string | null;
            /**
             * @description Since when the project is archived and read-only; null if it is not.
             * @example null
             */
            archived_at: string | null;
            /**
             * @description Whether viewers may write comments. False in a new project.
             * @example false
             */
            viewers_may_comment: boolean;
            /**
             * Format: date-time
             * @description When the project was created.
             * @example 2026-11-23T03:14:07.123Z
             */
            created_at: string;
            /**
             * Format: date-time
             * @description When the project last changed.
             * @example 2026-11-23T03:14:07.123Z
             */
            updated_at: string;
            /**
             * Format: int32
             * @description Increases by one with each change.
             * @example 1
             */
            version: number;
            members: components["schemas"]["Member"][];
            tasks: components["schemas"]["Task"][];
            comments: components["schemas"]["Comment"][];
        };
        Refresh: {
            /**
             * @description Sent by OAuth2 clients (RFC 6749); optional.
             * @constant
             * @enum {string}
             */
            grant_type?: "refresh_token";
            /**
             * @description The latest refresh token of the session.
             * @example q3Xv1mJ0b9K7yT5sR2wZ8nL4cF6hG1dE0aU9iO3pVxY
             */
            refresh_token: string;
            /** @description Ignored. */
            scope?: string;
            /** @description Ignored. */
            client_id?: string;
            /** @description Ignored. */
            client_secret?: string;
        };
        Registration: {
            /**
             * @description Unique, regardless of case.
             * @example ada
             */
            username: string;
            /**
             * @description Unique, regardless of case.
             * @example ada@example.org
             */
            email: string;
            /**
             * @description Any characters, compared in Unicode normal form NFKC. Common passwords are refused.
             * @example correct horse battery staple
             */
            password: string;
            /** @description The token of an invitation, to join its project. */
            invitation?: string;
        };
        /** @description What was restored: `task` or `project`, by `type`. The other is null. */
        Restored: {
            /**
             * @description What was deleted.
             * @example task
             */
            type: components["schemas"]["TrashedType"];
            task: components["schemas"]["Task"] | null;
            project: components["schemas"]["Project"] | null;
        };
        /** @enum {string} */
        Role: "owner" | "editor" | "viewer";
        /** @enum {string} */
        SearchedText: "title" | "description" | "comments";
        Session: {
            /**
             * Format: uuid
             * @description The session.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            id: string;
            /**
             * @description Whether this request belongs to the session.
             * @example true
             */
            current: boolean;
            /**
             * @description The `User-Agent` of the client.
             * @example curl/8.5.0
             */
            user_agent: string | null;
            /**
             * @description The IP address that last used the session.
             * @example 203.0.113.7
             */
            address: string | null;
            /**
             * Format: date-time
             * @description When the user logged in.
             * @example 2026-11-23T03:14:07.123Z
             */
            created_at: string;
            /**
             * Format: date-time
             * @description When the session was last refreshed.
             * @example 2026-11-23T03:14:07.123Z
             */
            last_used_at: string;
            /**
             * Format: date-time
             * @description When the session ends, if it is not refreshed again.
             * @example 2026-11-23T03:14:07.123Z
             */
            expires_at: string;
        };
        SessionPage: {
            items: components["schemas"]["Session"][];
            /**
             * @description Send it as `cursor` to get the next page; null on the last page.
             * @example WyJwcm9qZWN0cyJd
             */
            next_cursor: string | null;
        };
        /** @description A page of a snapshot. A project comes before its members, its tasks and the comments on them, in this page or an earlier one. A comment may come whose task is new or has moved: the changes bring the task, or take it away with its comments. Store each row in place of one with the same id: a task that moves meanwhile can come twice, and the later row is the newer one. */
        Snapshot: {
            projects: components["schemas"]["Project"][];
            members: components["schemas"]["SnapshotMember"][];
            tasks: components["schemas"]["Task"][];
            comments: components["schemas"]["SnapshotComment"][];
            /**
             * @description Whether this is the last page of the snapshot; then `next_cursor` is where the changes go on.
             * @example true
             */
            complete: boolean;
        };
        SnapshotComment: {
            /**
             * Format: uuid
             * @description The project.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            project_id: string;
            /**
             * Format: uuid
             * @description The comment.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            id: string;
            /**
             * Format: uuid
             * @description The task it belongs to.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            task_id: string;
            /**
             * @description The author; null after the account was deleted.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            author_id: string | null;
            /**
             * @description Markdown, kept and returned as text.
             * @example Slate, please: it hides **everything**.
             */
            body: string;
            /**
             * Format: date-time
             * @description When the comment was written.
             * @example 2026-11-23T03:14:07.123Z
             */
            created_at: string;
            /**
             * @description When the comment was last edited; null if it never was.
             * @example null
             */
            edited_at: string | null;
            /**
             * Format: int32
             * @description Increases by one with each edit.
             * @example 1
             */
            version: number;
        };
        SnapshotMember: {
            /**
             * Format: uuid
             * @description The project.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            project_id: string;
            /**
             * Format: uuid
             * @description The user.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            user_id: string;
            /** @example bob */
            username: string;
            /**
             * @description An `owner` can do everything, an `editor` can write tasks, a `viewer` can read and set the status of tasks that are assigned to them. All see the members.
             * @example editor
             */
            role: components["schemas"]["Role"];
            /**
             * Format: date-time
             * @description When the user became a member.
             * @example 2026-11-23T03:14:07.123Z
             */
            created_at: string;
        };
        /** @description The subtasks right below this task, with `expand=progress`. */
        SubtaskCounts: {
            /**
             * Format: int32
             * @description Those with the status `todo` or `in_progress`.
             * @example 2
             */
            open: number;
            /**
             * Format: int32
             * @description Those with the status `done`.
             * @example 1
             */
            done: number;
        };
        Task: {
            /**
             * Format: uuid
             * @description The task.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            id: string;
            /**
             * Format: uuid
             * @description The project it belongs to.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            project_id: string;
            /** @example Choose the tiles */
            title: string;
            /** @example Slate or terracotta? */
            description: string | null;
            /**
             * @description Setting `done` sets `completed_at`; any other status clears it.
             * @example todo
             */
            status: components["schemas"]["TaskStatus"];
            /**
             * Format: int32
             * @description From 0 (none) to 4 (urgent).
             * @example 2
             */
            priority: number;
            /**
             * @description When the task is due, if it has a time.
             * @example 2026-11-23T03:14:07.123Z
             */
            due_at: string | null;
            /**
             * @description The day on which the task is due, if it has no time.
             * @example null
             */
            due_on: string | null;
            /**
             * @description The assignee, a member of the project.
             * @example null
             */
            assignee_id: string | null;
            /**
             * @example [
             *       "shopping"
             *     ]
             */
            labels: string[];
            /**
             * @description The task of which this is a subtask. It is in the same project, and subtasks have up to 5 levels.
             * @example null
             */
            parent_id: string | null;
            /**
             * @description The tasks that have to be done or cancelled first. They may be in other projects.
             * @example []
             */
            blocked_by: string[];
            /**
             * @description When the status became `done`; null for any other status.
             * @example null
             */
            completed_at: string | null;
            /**
             * Format: date-time
             * @description When the task was created.
             * @example 2026-11-23T03:14:07.123Z
             */
            created_at: string;
            /**
             * Format: date-time
             * @description When the task last changed.
             * @example 2026-11-23T03:14:07.123Z
             */
            updated_at: string;
            /**
             * @description The creator; null after the account was deleted.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            created_by: string | null;
            /**
             * Format: int32
             * @description Increases by one with each change.
             * @example 1
             */
            version: number;
            /**
             * Format: int32
             * @description How many comments the task has. It changes without a new version of the task.
             * @example 0
             */
            comment_count: number;
            subtask_counts?: components["schemas"]["SubtaskCounts"];
            /**
             * @description Whether a task of `blocked_by` is open, with `expand=progress`.
             * @example false
             */
            is_blocked?: boolean;
            /**
             * @description The assignee, with `expand=people`.
             * @example null
             */
            assignee?: components["schemas"]["Person"] | null;
            /**
             * @description The creator, with `expand=people`; null once the account is deleted.
             * @example null
             */
            creator?: components["schemas"]["Person"] | null;
        };
        /** @description An `update` keeps omitted fields and clears a field with null. Each task may occur once. */
        TaskBatch: {
            operations: (components["schemas"]["TaskBatchCreate"] | components["schemas"]["TaskBatchUpdate"] | components["schemas"]["TaskBatchDelete"])[];
        };
        TaskBatchCreate: {
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            op: "create";
            /**
             * Format: uuid
             * @description The project of the new task.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            project_id: string;
            /**
             * Format: uuid
             * @description A UUIDv7 that you choose for the task, not more than a day ahead of the clock. If it exists, the response is `id_taken`. If omitted, the server chooses one.
             */
            id?: string;
            /** @example Choose the tiles */
            title: string;
            /** @example Slate or terracotta? */
            description?: string | null;
            /**
             * @description Setting `done` sets `completed_at`; any other status clears it.
             * @example todo
             */
            status?: components["schemas"]["TaskStatus"];
            /**
             * Format: int32
             * @description From 0 (none) to 4 (urgent).
             * @example 2
             */
            priority?: number;
            /**
             * @description When the task is due, with any UTC offset. Not beside `due_on`. At most three decimals.
             * @example 2026-12-24T18:00:00+01:00
             */
            due_at?: string | null;
            /**
             * @description The day on which the task is due, without a time. It counts as the end of that day in UTC. At most one of `due_at` and `due_on` is set: to set one in place of the other, set the other to null in the same request.
             * @example null
             */
            due_on?: string | null;
            /**
             * @description The assignee, a member of the project: their id, or `me`.
             * @example me
             */
            assignee_id?: string | null;
            /**
             * @example [
             *       "shopping"
             *     ]
             */
            labels?: string[];
            /**
             * @description The task of which this is a subtask. It is in the same project, and subtasks have up to 5 levels.
             * @example null
             */
            parent_id?: string | null;
            /**
             * @description The tasks that have to be done or cancelled first. They may be in other projects.
             * @example []
             */
            blocked_by?: string[];
        };
        TaskBatchDelete: {
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            op: "delete";
            /**
             * Format: uuid
             * @description The task to delete.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            task_id: string;
            /**
             * Format: int32
             * @description Apply the operation only to this version.
             * @example 1
             */
            version?: number;
        };
        /** @enum {string} */
        TaskBatchOperationKind: "create" | "update" | "delete";
        TaskBatchResult: {
            /** @example create */
            op: components["schemas"]["TaskBatchOperationKind"];
            task: components["schemas"]["Task"];
        };
        TaskBatchResults: {
            /** @description The results in the order of the operations. A deleted task is returned as it was. */
            results: components["schemas"]["TaskBatchResult"][];
        };
        TaskBatchUpdate: {
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            op: "update";
            /**
             * Format: uuid
             * @description The task to update.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            task_id: string;
            /**
             * Format: int32
             * @description Apply the operation only to this version.
             * @example 1
             */
            version?: number;
            /** @example Choose the tiles */
            title?: string;
            /** @example Slate or terracotta? */
            description?: string | null;
            /**
             * @description Setting `done` sets `completed_at`; any other status clears it.
             * @example todo
             */
            status?: components["schemas"]["TaskStatus"];
            /**
             * Format: int32
             * @description From 0 (none) to 4 (urgent).
             * @example 2
             */
            priority?: number;
            /**
             * @description When the task is due, with any UTC offset. Not beside `due_on`. At most three decimals.
             * @example 2026-12-24T18:00:00+01:00
             */
            due_at?: string | null;
            /**
             * @description The day on which the task is due, without a time. It counts as the end of that day in UTC. At most one of `due_at` and `due_on` is set: to set one in place of the other, set the other to null in the same request.
             * @example null
             */
            due_on?: string | null;
            /**
             * @description The assignee, a member of the project: their id, or `me`.
             * @example me
             */
            assignee_id?: string | null;
            /**
             * @example [
             *       "shopping"
             *     ]
             */
            labels?: string[];
            /**
             * @description The task of which this is a subtask. It is in the same project, and subtasks have up to 5 levels.
             * @example null
             */
            parent_id?: string | null;
            /**
             * @description The tasks that have to be done or cancelled first. They may be in other projects.
             * @example []
             */
            blocked_by?: string[];
            /**
             * Format: uuid
             * @description Moves the task to this project, where you have to be an owner or editor too. Its subtasks go along, and it has no parent there. Assignees are kept if they are members there. The histories and the feed have a deletion in the one project and a creation in the other.
             */
            project_id?: string;
            /**
             * @description Puts the task right after this one of its project, in the order of `sort=position`; null: before all others. Not beside `before`.
             * @example null
             */
            after?: string | null;
            /** @description Puts the task right before this one; null: after all others. */
            before?: string | null;
        };
        TaskCount: {
            /**
             * Format: int32
             * @description How many tasks there are, up to 10000.
             * @example 42
             */
            count: number;
            /**
             * @description Whether there are more than `count`.
             * @example false
             */
            more: boolean;
        };
        TaskPage: {
            items: components["schemas"]["Task"][];
            /**
             * @description Send it as `cursor` to get the next page; null on the last page.
             * @example WyJwcm9qZWN0cyJd
             */
            next_cursor: string | null;
        };
        /** @description A merge patch (RFC 7396): an omitted field keeps its value, null clears it. */
        TaskPatch: {
            /** @example Choose the tiles */
            title?: string;
            /** @example Slate or terracotta? */
            description?: string | null;
            /**
             * @description Setting `done` sets `completed_at`; any other status clears it.
             * @example todo
             */
            status?: components["schemas"]["TaskStatus"];
            /**
             * Format: int32
             * @description From 0 (none) to 4 (urgent).
             * @example 2
             */
            priority?: number;
            /**
             * @description When the task is due, with any UTC offset. Not beside `due_on`. At most three decimals.
             * @example 2026-12-24T18:00:00+01:00
             */
            due_at?: string | null;
            /**
             * @description The day on which the task is due, without a time. It counts as the end of that day in UTC. At most one of `due_at` and `due_on` is set: to set one in place of the other, set the other to null in the same request.
             * @example null
             */
            due_on?: string | null;
            /**
             * @description The assignee, a member of the project: their id, or `me`.
             * @example me
             */
            assignee_id?: string | null;
            /**
             * @example [
             *       "shopping"
             *     ]
             */
            labels?: string[];
            /**
             * @description The task of which this is a subtask. It is in the same project, and subtasks have up to 5 levels.
             * @example null
             */
            parent_id?: string | null;
            /**
             * @description The tasks that have to be done or cancelled first. They may be in other projects.
             * @example []
             */
            blocked_by?: string[];
            /**
             * Format: uuid
             * @description Moves the task to this project, where you have to be an owner or editor too. Its subtasks go along, and it has no parent there. Assignees are kept if they are members there. The histories and the feed have a deletion in the one project and a creation in the other.
             */
            project_id?: string;
            /**
             * @description Puts the task right after this one of its project, in the order of `sort=position`; null: before all others. Not beside `before`.
             * @example null
             */
            after?: string | null;
            /** @description Puts the task right before this one; null: after all others. */
            before?: string | null;
            /**
             * Format: int32
             * @description Write only on this version, as `If-Match` does.
             */
            version?: number;
        };
        /** @description An omitted field gets its default. Read-only fields may be sent back unchanged. */
        TaskReplace: {
            /** @example Choose the tiles */
            title: string;
            /** @example Slate or terracotta? */
            description?: string | null;
            /**
             * @description Setting `done` sets `completed_at`; any other status clears it.
             * @example todo
             */
            status?: components["schemas"]["TaskStatus"];
            /**
             * Format: int32
             * @description From 0 (none) to 4 (urgent).
             * @example 2
             */
            priority?: number;
            /**
             * @description When the task is due, with any UTC offset. Not beside `due_on`. At most three decimals.
             * @example 2026-12-24T18:00:00+01:00
             */
            due_at?: string | null;
            /**
             * @description The day on which the task is due, without a time. It counts as the end of that day in UTC. At most one of `due_at` and `due_on` is set: to set one in place of the other, set the other to null in the same request.
             * @example null
             */
            due_on?: string | null;
            /**
             * @description The assignee, a member of the project: their id, or `me`.
             * @example me
             */
            assignee_id?: string | null;
            /**
             * @example [
             *       "shopping"
             *     ]
             */
            labels?: string[];
            /**
             * @description The task of which this is a subtask. It is in the same project, and subtasks have up to 5 levels.
             * @example null
             */
            parent_id?: string | null;
            /**
             * @description The tasks that have to be done or cancelled first. They may be in other projects.
             * @example []
             */
            blocked_by?: string[];
            /**
             * Format: int32
             * @description Write only on this version, as `If-Match` does.
             */
            version?: number;
            /**
             * Format: uuid
             * @description The task.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            readonly id?: string;
            /**
             * Format: uuid
             * @description The project it belongs to.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            readonly project_id?: string;
            /**
             * @description When the status became `done`; null for any other status.
             * @example null
             */
            readonly completed_at?: string | null;
            /**
             * Format: date-time
             * @description When the task was created.
             * @example 2026-11-23T03:14:07.123Z
             */
            readonly created_at?: string;
            /**
             * Format: date-time
             * @description When the task last changed.
             * @example 2026-11-23T03:14:07.123Z
             */
            readonly updated_at?: string;
            /**
             * @description The creator; null after the account was deleted.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            readonly created_by?: string | null;
            /**
             * Format: int32
             * @description How many comments the task has. It changes without a new version of the task.
             * @example 0
             */
            readonly comment_count?: number;
        };
        /** @enum {string} */
        TaskStatus: "todo" | "in_progress" | "done" | "cancelled";
        /**
         * @description CSV (RFC 4180) with a header, in UTF-8. Labels are separated by commas. A text that a spreadsheet would run as a formula, or that begins with an apostrophe, is prefixed with an apostrophe.
         * @example id,title,description,status,priority,due_at,due_on,assignee,labels,completed_at,created_at,updated_at,created_by,parent_id,blocked_by
         */
        TaskTable: string;
        /** @description An omitted field gets its default: no description, `todo`, priority 0, no due date, no assignee, no labels, no parent, not blocked. */
        TaskWrite: {
            /**
             * Format: uuid
             * @description A UUIDv7 that you choose for the task, not more than a day ahead of the clock. If it exists, the response is `id_taken`. If omitted, the server chooses one.
             */
            id?: string;
            /** @example Choose the tiles */
            title: string;
            /** @example Slate or terracotta? */
            description?: string | null;
            /**
             * @description Setting `done` sets `completed_at`; any other status clears it.
             * @example todo
             */
            status?: components["schemas"]["TaskStatus"];
            /**
             * Format: int32
             * @description From 0 (none) to 4 (urgent).
             * @example 2
             */
            priority?: number;
            /**
             * @description When the task is due, with any UTC offset. Not beside `due_on`. At most three decimals.
             * @example 2026-12-24T18:00:00+01:00
             */
            due_at?: string | null;
            /**
             * @description The day on which the task is due, without a time. It counts as the end of that day in UTC. At most one of `due_at` and `due_on` is set: to set one in place of the other, set the other to null in the same request.
             * @example null
             */
            due_on?: string | null;
            /**
             * @description The assignee, a member of the project: their id, or `me`.
             * @example me
             */
            assignee_id?: string | null;
            /**
             * @example [
             *       "shopping"
             *     ]
             */
            labels?: string[];
            /**
             * @description The task of which this is a subtask. It is in the same project, and subtasks have up to 5 levels.
             * @example null
             */
            parent_id?: string | null;
            /**
             * @description The tasks that have to be done or cancelled first. They may be in other projects.
             * @example []
             */
            blocked_by?: string[];
        };
        /** @description An OAuth2 token response (RFC 6749 §5.1). */
        Tokens: {
            /**
             * @description A JWT (RFC 9068). Send it as `Authorization: Bearer`.
             * @example eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiIwMTlhIn0.c2lnbmF0dXJl
             */
            access_token: string;
            /**
             * @constant
             * @enum {string}
             */
            token_type: "bearer";
            /**
             * Format: int32
             * @description Seconds until the access token expires.
             * @example 900
             */
            expires_in: number;
            /**
             * @description Send it to `POST /users/refresh`, once: each refresh returns the next one.
             * @example q3Xv1mJ0b9K7yT5sR2wZ8nL4cF6hG1dE0aU9iO3pVxY
             */
            refresh_token: string;
        };
        TrashItem: {
            /**
             * Format: uuid
             * @description The task or the project.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            id: string;
            /**
             * @description What was deleted.
             * @example task
             */
            type: components["schemas"]["TrashedType"];
            /**
             * @description The title of the task, or the name of the project.
             * @example Buy flour
             */
            name: string;
            /**
             * Format: uuid
             * @description The project, or the one that the task is restored into.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            project_id: string;
            /**
             * @description Its name.
             * @example Kitchen
             */
            project_name: string;
            /**
             * Format: date-time
             * @description When it was deleted.
             * @example 2026-11-23T03:14:07.123Z
             */
            deleted_at: string;
            /**
             * @description The user who deleted it; null if unknown.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            deleted_by: string | null;
            /**
             * Format: date-time
             * @description When it is deleted for good.
             * @example 2026-11-23T03:14:07.123Z
             */
            purge_at: string;
        };
        TrashPage: {
            items: components["schemas"]["TrashItem"][];
            /**
             * @description Send it as `cursor` to get the next page; null on the last page.
             * @example WyJwcm9qZWN0cyJd
             */
            next_cursor: string | null;
        };
        /** @enum {string} */
        TrashedType: "task" | "project";
        User: {
            /**
             * Format: uuid
             * @description The user.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            id: string;
            /** @example ada */
            username: string;
            /** @example ada@example.org */
            email: string;
            /**
             * Format: date-time
             * @description When the account was created.
             * @example 2026-11-23T03:14:07.123Z
             */
            created_at: string;
            /**
             * Format: date-time
             * @description When the profile last changed.
             * @example 2026-11-23T03:14:07.123Z
             */
            updated_at: string;
        };
        /** @description A merge patch (RFC 7396): what is left out stays. */
        UserPatch: {
            /**
             * @description Unique, regardless of case.
             * @example ada
             */
            username?: string;
            /**
             * @description Unique, regardless of case.
             * @example ada@example.org
             */
            email?: string;
            /**
             * @description Your password. A new email needs it.
             * @example correct horse battery staple
             */
            password?: string;
        };
        Webhook: {
            /**
             * Format: uuid
             * @description The webhook.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            id: string;
            /**
             * @description Where the events go, by POST. In production only `https`. Addresses inside the network of the server are refused when an event is delivered.
             * @example https://example.org/hooks/mantou
             */
            url: string;
            /**
             * @description What the webhook is for.
             * @example chat
             */
            name: string | null;
            /**
             * @description Only the events of this project are delivered; null: of all.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            project_id: string | null;
            /**
             * @description The actions to deliver.
             * @example [
             *       "task.created",
             *       "task.updated"
             *     ]
             */
            actions: ("project.created" | "project.updated" | "project.deleted" | "project.restored" | "member.added" | "member.updated" | "member.removed" | "task.created" | "task.updated" | "task.deleted" | "task.restored" | "comment.created" | "comment.updated" | "comment.deleted" | "access.granted" | "access.lost")[] | null;
            /**
             * @description `active` delivers. `paused` and `disabled` keep their place.
             * @example active
             * @enum {string}
             */
            state: "active" | "paused" | "disabled";
            /**
             * @description `gone`: the receiver answered 410. `failing`: no delivery succeeded for 5 days. `cursor_expired`: the next events are not kept any more.
             * @example null
             */
            disabled_reason: ("gone" | "failing" | "cursor_expired") | null;
            /**
             * @description The place in your feed: every event up to here was delivered or is not wanted.
             * @example WyJhIiwiYiIsMTJd
             */
            cursor: string;
            /**
             * Format: int32
             * @description Events that wait for delivery; 200 means 200 or more.
             * @example 0
             */
            pending: number;
            /**
             * @description Whether events after `cursor` are not kept any more, so that they cannot be delivered.
             * @example false
             */
            missed: boolean;
            /**
             * @description When the last delivery succeeded; null: never.
             * @example 2026-11-23T03:14:07.123Z
             */
            last_success_at: string | null;
            /** @description The last try that failed; null: none. */
            last_failure: components["schemas"]["WebhookFailure"] | null;
            /**
             * Format: date-time
             * @description When the webhook was created.
             * @example 2026-11-23T03:14:07.123Z
             */
            created_at: string;
            /**
             * Format: date-time
             * @description When the webhook was last changed by you.
             * @example 2026-11-23T03:14:07.123Z
             */
            updated_at: string;
        };
        WebhookCreate: {
            /**
             * @description Where the events go, by POST. In production only `https`. Addresses inside the network of the server are refused when an event is delivered.
             * @example https://example.org/hooks/mantou
             */
            url: string;
            /**
             * @description What the webhook is for.
             * @example chat
             */
            name?: string | null;
            /**
             * @description Deliver the events of this project only.
             * @example null
             */
            project_id?: string | null;
            /**
             * @description The actions to deliver.
             * @example [
             *       "task.created",
             *       "task.updated"
             *     ]
             */
            actions?: ("project.created" | "project.updated" | "project.deleted" | "project.restored" | "member.added" | "member.updated" | "member.removed" | "task.created" | "task.updated" | "task.deleted" | "task.restored" | "comment.created" | "comment.updated" | "comment.deleted" | "access.granted" | "access.lost")[] | null;
            /** @description Signs the deliveries (Standard Webhooks 1.0). Omitted: the server makes one. */
            secret?: string;
        };
        WebhookCreated: {
            /**
             * Format: uuid
             * @description The webhook.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            id: string;
            /**
             * @description Where the events go, by POST. In production only `https`. Addresses inside the network of the server are refused when an event is delivered.
             * @example https://example.org/hooks/mantou
             */
            url: string;
            /**
             * @description What the webhook is for.
             * @example chat
             */
            name: string | null;
            /**
             * @description Only the events of this project are delivered; null: of all.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            project_id: string | null;
            /**
             * @description The actions to deliver.
             * @example [
             *       "task.created",
             *       "task.updated"
             *     ]
             */
            actions: ("project.created" | "project.updated" | "project.deleted" | "project.restored" | "member.added" | "member.updated" | "member.removed" | "task.created" | "task.updated" | "task.deleted" | "task.restored" | "comment.created" | "comment.updated" | "comment.deleted" | "access.granted" | "access.lost")[] | null;
            /**
             * @description `active` delivers. `paused` and `disabled` keep their place.
             * @example active
             * @enum {string}
             */
            state: "active" | "paused" | "disabled";
            /**
             * @description `gone`: the receiver answered 410. `failing`: no delivery succeeded for 5 days. `cursor_expired`: the next events are not kept any more.
             * @example null
             */
            disabled_reason: ("gone" | "failing" | "cursor_expired") | null;
            /**
             * @description The place in your feed: every event up to here was delivered or is not wanted.
             * @example WyJhIiwiYiIsMTJd
             */
            cursor: string;
            /**
             * Format: int32
             * @description Events that wait for delivery; 200 means 200 or more.
             * @example 0
             */
            pending: number;
            /**
             * @description Whether events after `cursor` are not kept any more, so that they cannot be delivered.
             * @example false
             */
            missed: boolean;
            /**
             * @description When the last delivery succeeded; null: never.
             * @example 2026-11-23T03:14:07.123Z
             */
            last_success_at: string | null;
            /** @description The last try that failed; null: none. */
            last_failure: components["schemas"]["WebhookFailure"] | null;
            /**
             * Format: date-time
             * @description When the webhook was created.
             * @example 2026-11-23T03:14:07.123Z
             */
            created_at: string;
            /**
             * Format: date-time
             * @description When the webhook was last changed by you.
             * @example 2026-11-23T03:14:07.123Z
             */
            updated_at: string;
            /**
             * @description Verifies the signatures of the deliveries. Returned only in this response.
             * @example whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw
             */
            secret: string;
        };
        WebhookDelivery: {
            /**
             * Format: uuid
             * @description The event, and the `webhook-id` of each of its tries.
             * @example 019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23
             */
            event_id: string;
            /**
             * @description The action of the event; `webhook.ping` for a ping.
             * @example task.updated
             */
            action: string;
            /**
             * Format: int32
             * @description How often it was sent.
             * @example 1
             */
            tries: number;
            /**
             * @description The status of the last response; null: none.
             * @example 204
             */
            status: number | null;
            /**
             * @description Why the last try failed; null: it did not.
             * @example null
             */
            error: ("unreachable" | "tls_failed" | "timed_out" | "invalid_response" | "redirected" | "status") | null;
            /**
             * @description How long the last try took.
             * @example 42
             */
            duration_ms: number | null;
            /**
             * @description The first KiB of the last response; null: none.
             * @example ok
             */
            response: string | null;
            /**
             * Format: date-time
             * @description When the last try ended.
             * @example 2026-11-23T03:14:07.123Z
             */
            at: string;
        };
        WebhookDeliveryPage: {
            items: components["schemas"]["WebhookDelivery"][];
            /**
             * @description Send it as `cursor` to get the next page; null on the last page.
             * @example WyJwcm9qZWN0cyJd
             */
            next_cursor: string | null;
        };
        WebhookFailure: {
            /**
             * Format: date-time
             * @description When.
             * @example 2026-11-23T03:14:07.123Z
             */
            at: string;
            /**
             * @description The status of the response; null: there was none.
             * @example 500
             */
            status: number | null;
            /**
             * @description `unreachable`: no connection, for whatever reason, an address that is not allowed among them. `status`: a response other than 2xx.
             * @example status
             * @enum {string}
             */
            error: "unreachable" | "tls_failed" | "timed_out" | "invalid_response" | "redirected" | "status";
        };
        WebhookPage: {
            items: components["schemas"]["Webhook"][];
            /**
             * @description Send it as `cursor` to get the next page; null on the last page.
             * @example WyJwcm9qZWN0cyJd
             */
            next_cursor: string | null;
        };
        WebhookPatch: {
            /**
             * @description Where the events go, by POST. In production only `https`. Addresses inside the network of the server are refused when an event is delivered.
             * @example https://example.org/hooks/mantou
             */
            url?: string;
            /**
             * @description What the webhook is for.
             * @example chat
             */
            name?: string | null;
            /**
             * @description Deliver the events of this project only.
             * @example null
             */
            project_id?: string | null;
            /**
             * @description The actions to deliver.
             * @example [
             *       "task.created",
             *       "task.updated"
             *     ]
             */
            actions?: ("project.created" | "project.updated" | "project.deleted" | "project.restored" | "member.added" | "member.updated" | "member.removed" | "task.created" | "task.updated" | "task.deleted" | "task.restored" | "comment.created" | "comment.updated" | "comment.deleted" | "access.granted" | "access.lost")[] | null;
            /**
             * @description `active` continues where the webhook stopped, also one that was disabled. `paused` keeps its place; a change that is made within a second may still be sent.
             * @example active
             * @enum {string}
             */
            state?: "active" | "paused";
        };
        WebhookReplay: {
            /**
             * @description The `cursor` of an event or the `next_cursor` of a page of `GET /changes`.
             * @example WyJhIiwiYiIsMTJd
             */
            since: string;
        };
        WebhookRotation: {
            /** @description Signs the deliveries (Standard Webhooks 1.0). Omitted: the server makes one. */
            secret?: string;
        };
        WebhookSecret: {
            /**
             * @description Verifies the signatures of the deliveries. Returned only in this response.
             * @example whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw
             */
            secret: string;
            /**
             * Format: date-time
             * @description Until then deliveries are signed with the previous secret too.
             * @example 2026-11-23T03:14:07.123Z
             */
            previous_secret_until: string;
        };
    };
    responses: {
        /** @description `conflict`: Conflict with the state of the resource. */
        Conflict: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `cursor_expired`: Cursor expired. */
        CursorExpired: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `database_unavailable`: Database unavailable. */
        DatabaseUnavailable: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                "Retry-After": components["headers"]["Retry-After"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `database_unavailable`: Database unavailable. `overloaded`: Server overloaded. */
        DatabaseUnavailableOrOverloaded: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                "Retry-After": components["headers"]["Retry-After"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `forbidden`: Not allowed. */
        Forbidden: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `forbidden`: Not allowed. `insufficient_scope`: Insufficient scope. */
        ForbiddenOrInsufficientScope: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `id_taken`: Id taken. `conflict`: Conflict with the state of the resource. `idempotency_in_flight`: Request in progress. */
        IdTakenOrConflictOrIdempotencyInFlight: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                "Retry-After": components["headers"]["Retry-After"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `id_taken`: Id taken. `idempotency_in_flight`: Request in progress. */
        IdTakenOrIdempotencyInFlight: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                "Retry-After": components["headers"]["Retry-After"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `insufficient_scope`: Insufficient scope. */
        InsufficientScope: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `internal`: Internal server error. */
        Internal: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `invalid_credentials`: Wrong user name or password. */
        InvalidCredentials: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                "WWW-Authenticate": components["headers"]["WWW-Authenticate"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `invalid_refresh_token`: Invalid refresh token. */
        InvalidRefreshToken: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                "WWW-Authenticate": components["headers"]["WWW-Authenticate"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `invitation_ended`: Invitation ended. */
        InvitationEnded: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `malformed_json`: Malformed JSON. `malformed_request`: Malformed request. */
        MalformedJsonOrMalformedRequest: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `malformed_request`: Malformed request. */
        MalformedRequest: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `not_found`: Not found. */
        NotFound: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `not_implemented`: Not implemented. */
        NotImplemented: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `payload_too_large`: Body too large. */
        PayloadTooLarge: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `precondition_failed`: Version mismatch. */
        PreconditionFailed: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `rate_limited`: Too many requests. */
        RateLimited: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                "Retry-After": components["headers"]["Retry-After"];
                RateLimit: components["headers"]["RateLimit"];
                "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `registration_closed`: Registration is closed. */
        RegistrationClosed: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `shared_projects`: Shared projects. */
        SharedProjects: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `unauthenticated`: Authentication required. `invalid_token`: Invalid token. `token_expired`: Access token expired. */
        UnauthenticatedOrInvalidTokenOrTokenExpired: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                "WWW-Authenticate": components["headers"]["WWW-Authenticate"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `unauthenticated`: Authentication required. `invalid_token`: Invalid token. `token_expired`: Access token expired. `invalid_credentials`: Wrong user name or password. */
        UnauthenticatedOrInvalidTokenOrTokenExpiredOrInvalidCredentials: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                "WWW-Authenticate": components["headers"]["WWW-Authenticate"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `unsupported_media_type`: Unsupported media type. */
        UnsupportedMediaType: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `username_taken`: User name taken. `email_taken`: Email taken. */
        UsernameTakenOrEmailTaken: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `username_taken`: User name taken. `email_taken`: Email taken. `conflict`: Conflict with the state of the resource. */
        UsernameTakenOrEmailTakenOrConflict: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `validation_failed`: Invalid request. */
        ValidationFailed: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `validation_failed`: Invalid request. `idempotency_key_reused`: Idempotency key reused. */
        ValidationFailedOrIdempotencyKeyReused: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `validation_failed`: Invalid request. `invalid_cursor`: Invalid cursor. */
        ValidationFailedOrInvalidCursor: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `validation_failed`: Invalid request. `weak_password`: Weak password. */
        ValidationFailedOrWeakPassword: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
    };
    parameters: never;
    requestBodies: never;
    headers: {
        /** @description The id of this request in the log: the id that the client sent, or a new one. */
        "X-Request-Id": string;
        /** @description The version, in quotes, for `If-Match` and `If-None-Match`. */
        ETag: string;
        /** @description The path of the new resource. */
        Location: string;
        /** @description `true` if this is the stored response of an earlier request with the same key. */
        "Idempotency-Replayed": string;
        /** @description How to authenticate (RFC 6750 §3). */
        "WWW-Authenticate": string;
        /** @description The number of seconds to wait before the next attempt. */
        "Retry-After": string;
        /** @description The remaining quota: `r` requests; the full quota is available again in `t` seconds. */
        RateLimit: string;
        /** @description The rate limit: `q` requests in `w` seconds. */
        "RateLimit-Policy": string;
    };
    pathItems: never;
}
export type $defs = Record<string, never>;
export interface operations {
    isLive: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "status": "ok"
                     *     }
                     */
                    "application/json": components["schemas"]["Health"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            422: components["responses"]["ValidationFailed"];
        };
    };
    isReady: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "status": "ok"
                     *     }
                     */
                    "application/json": components["schemas"]["Health"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            422: components["responses"]["ValidationFailed"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    explainProblem: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description Identifies the kind of problem. Codes are stable.
                 * @example validation_failed
                 */
                code: components["schemas"]["ProblemCode"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "code": "validation_failed",
                     *       "status": 422,
                     *       "title": "Invalid request",
                     *       "explanation": "`errors` lists each field that is not valid."
                     *     }
                     */
                    "application/json": components["schemas"]["ProblemExplanation"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
        };
    };
    registerUser: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "username": "ada",
                 *       "email": "ada@example.org",
                 *       "password": "correct horse battery staple"
                 *     }
                 */
                "application/json": components["schemas"]["Registration"];
            };
        };
        responses: {
            /** @description Created. */
            201: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "username": "ada",
                     *       "email": "ada@example.org",
                     *       "created_at": "2026-11-23T03:14:07.123Z",
                     *       "updated_at": "2026-11-23T03:14:07.123Z"
                     *     }
                     */
                    "application/json": components["schemas"]["User"];
                };
            };
            400: components["responses"]["MalformedJsonOrMalformedRequest"];
            403: components["responses"]["RegistrationClosed"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["UsernameTakenOrEmailTakenOrConflict"];
            410: components["responses"]["InvitationEnded"];
            413: components["responses"]["PayloadTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailedOrWeakPassword"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    logIn: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "grant_type": "password",
                 *       "username": "ada",
                 *       "password": "correct horse battery staple"
                 *     }
                 */
                "application/json": components["schemas"]["Credentials"];
                /**
                 * @example {
                 *       "grant_type": "password",
                 *       "username": "ada",
                 *       "password": "correct horse battery staple"
                 *     }
                 */
                "application/x-www-form-urlencoded": components["schemas"]["Credentials"];
            };
        };
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "access_token": "eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiIwMTlhIn0.c2lnbmF0dXJl",
                     *       "token_type": "bearer",
                     *       "expires_in": 900,
                     *       "refresh_token": "q3Xv1mJ0b9K7yT5sR2wZ8nL4cF6hG1dE0aU9iO3pVxY"
                     *     }
                     */
                    "application/json": components["schemas"]["Tokens"];
                };
            };
            400: components["responses"]["MalformedJsonOrMalformedRequest"];
            401: components["responses"]["InvalidCredentials"];
            413: components["responses"]["PayloadTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    refreshSession: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "grant_type": "refresh_token",
                 *       "refresh_token": "q3Xv1mJ0b9K7yT5sR2wZ8nL4cF6hG1dE0aU9iO3pVxY"
                 *     }
                 */
                "application/json": components["schemas"]["Refresh"];
                /**
                 * @example {
                 *       "grant_type": "refresh_token",
                 *       "refresh_token": "q3Xv1mJ0b9K7yT5sR2wZ8nL4cF6hG1dE0aU9iO3pVxY"
                 *     }
                 */
                "application/x-www-form-urlencoded": components["schemas"]["Refresh"];
            };
        };
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "access_token": "eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiIwMTlhIn0.c2lnbmF0dXJl",
                     *       "token_type": "bearer",
                     *       "expires_in": 900,
                     *       "refresh_token": "q3Xv1mJ0b9K7yT5sR2wZ8nL4cF6hG1dE0aU9iO3pVxY"
                     *     }
                     */
                    "application/json": components["schemas"]["Tokens"];
                };
            };
            400: components["responses"]["MalformedJsonOrMalformedRequest"];
            401: components["responses"]["InvalidRefreshToken"];
            413: components["responses"]["PayloadTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailable"];
        };
    };
    readSecretCalendar: {
        parameters: {
            query?: {
                /**
                 * @description Lists only these of your projects, up to 50. One that you do not see is `not_found`.
                 * @example [
                 *       "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23"
                 *     ]
                 */
                project_id?: string[];
                /**
                 * @description `tasks` (default) writes each as a `VTODO`. `events` writes it as a `VEVENT` that takes no time, for programs that show no tasks, such as Google Calendar, Outlook, Apple Calendar and khal.
                 * @example events
                 */
                as?: "tasks" | "events";
                /**
                 * @description Matches tasks with any of these statuses.
                 * @example [
                 *       "todo",
                 *       "in_progress"
                 *     ]
                 */
                status?: components["schemas"]["TaskStatus"][];
                /**
                 * @description Leaves out tasks with these statuses.
                 * @example [
                 *       "done",
                 *       "cancelled"
                 *     ]
                 */
                status_not?: components["schemas"]["TaskStatus"][];
                /**
                 * @description Matches tasks with any of these labels, up to 20, exactly as written. An empty item matches tasks without labels: `label=`, or `label=shopping,`.
                 * @example [
                 *       "shopping",
                 *       "urgent"
                 *     ]
                 */
                label?: string[];
                /**
                 * @description Matches tasks with all of these labels.
                 * @example [
                 *       "shopping",
                 *       "urgent"
                 *     ]
                 */
                label_all?: string[];
                /**
                 * @description Leaves out tasks with these labels. An empty item leaves out tasks without labels.
                 * @example [
                 *       "waiting"
                 *     ]
                 */
                label_not?: string[];
                /**
                 * @description Exactly this priority.
                 * @example 4
                 */
                priority?: number;
                /**
                 * @description This priority or above.
                 * @example 3
                 */
                priority_min?: number;
                /**
                 * @description This priority or below.
                 * @example 2
                 */
                priority_max?: number;
                /**
                 * @description `me`, `none` (unassigned), or the id of a user.
                 * @example me
                 */
                assignee_id?: string;
                /**
                 * @description `me`, or the id of a user.
                 * @example me
                 */
                created_by?: string;
                /**
                 * @description `none` (no subtasks), or the id of a task: its subtasks.
                 * @example none
                 */
                parent_id?: string;
                /**
                 * @description Whether a task of `blocked_by` is open.
                 * @example false
                 */
                blocked?: "true" | "false";
                /**
                 * @description Due at this time or later. Windows from `due_from` to `due_before` tile. A task with `due_on` counts as due at the end of that day. A date means the beginning of that day in UTC.
                 * @example 2026-12-24
                 */
                due_from?: string;
                /**
                 * @description Due after this time. A date means the end of that day in UTC.
                 * @example 2026-12-24T18:00:00+01:00
                 */
                due_after?: string;
                /**
                 * @description Due before this time, which is after `due_from` and `due_after`. A date means the beginning of that day in UTC.
                 * @example 2026-12-31
                 */
                due_before?: string;
                /**
                 * @description Done at this time or later. A date means the beginning of that day in UTC.
                 * @example 2026-12-24
                 */
                completed_from?: string;
                /**
                 * @description Done before this time. A date means the beginning of that day in UTC.
                 * @example 2026-12-31T18:00:00+01:00
                 */
                completed_before?: string;
                /**
                 * @description Last changed at this time or later. A date means the beginning of that day in UTC.
                 * @example 2026-12-24T18:00:00+01:00
                 */
                updated_from?: string;
                /**
                 * @description Last changed before this time. A date means the beginning of that day in UTC.
                 * @example 2026-12-31T18:00:00+01:00
                 */
                updated_before?: string;
                /**
                 * @description Created at this time or later. A date means the beginning of that day in UTC.
                 * @example 2026-12-24T18:00:00+01:00
                 */
                created_from?: string;
                /**
                 * @description Created before this time. A date means the beginning of that day in UTC.
                 * @example 2026-12-31T18:00:00+01:00
                 */
                created_before?: string;
                /**
                 * @description Finds items where the title or the description contains every word; the last word matches as a prefix. Case and accents are ignored. In scripts without spaces between words, the text matches anywhere. It must contain a letter, a digit or a symbol; punctuation is ignored.
                 * @example tiles kit
                 */
                q?: string;
                /**
                 * @description Where `q` looks, by default in `title,description`. All words have to occur in the title and the description together, or, with `comments`, in one comment.
                 * @example [
                 *       "title",
                 *       "description",
                 *       "comments"
                 *     ]
                 */
                in?: components["schemas"]["SearchedText"][];
            };
            header?: {
                /**
                 * @description Return 304 without a body if this is the current version: the `ETag` of an earlier response.
                 * @example "3"
                 */
                "If-None-Match"?: string;
            };
            path: {
                /**
                 * @description The secret of the address, and `.ics`.
                 * @example q3Xv1mJ0b9K7yT5sR2wZ8nL4cF6hG1dE0aU9iO3pVxY.ics
                 */
                file: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    ETag: components["headers"]["ETag"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example BEGIN:VCALENDAR
                     *     VERSION:2.0
                     *     PRODID:-//mantou//mantou//EN
                     *     END:VCALENDAR
                     */
                    "text/calendar": components["schemas"]["Calendar"];
                };
            };
            /** @description Not modified: `If-None-Match` names the current version. */
            304: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    ETag: components["headers"]["ETag"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["MalformedRequest"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    readProfile: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "username": "ada",
                     *       "email": "ada@example.org",
                     *       "created_at": "2026-11-23T03:14:07.123Z",
                     *       "updated_at": "2026-11-23T03:14:07.123Z"
                     *     }
                     */
                    "application/json": components["schemas"]["User"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    deleteAccount: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "password": "correct horse battery staple",
                 *       "projects": "delete"
                 *     }
                 */
                "application/json": components["schemas"]["AccountDeletion"];
            };
        };
        responses: {
            /** @description Success. The response has no body. */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["MalformedJsonOrMalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpiredOrInvalidCredentials"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            409: components["responses"]["SharedProjects"];
            413: components["responses"]["PayloadTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    patchProfile: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "username": "ada",
                 *       "email": "ada@example.org",
                 *       "password": "correct horse battery staple"
                 *     }
                 */
                "application/json": components["schemas"]["UserPatch"];
                /**
                 * @example {
                 *       "username": "ada",
                 *       "email": "ada@example.org",
                 *       "password": "correct horse battery staple"
                 *     }
                 */
                "application/merge-patch+json": components["schemas"]["UserPatch"];
            };
        };
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "username": "ada",
                     *       "email": "ada@example.org",
                     *       "created_at": "2026-11-23T03:14:07.123Z",
                     *       "updated_at": "2026-11-23T03:14:07.123Z"
                     *     }
                     */
                    "application/json": components["schemas"]["User"];
                };
            };
            400: components["responses"]["MalformedJsonOrMalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpiredOrInvalidCredentials"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            409: components["responses"]["UsernameTakenOrEmailTaken"];
            413: components["responses"]["PayloadTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    changePassword: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "current_password": "correct horse battery staple",
                 *       "new_password": "correct horse battery staple"
                 *     }
                 */
                "application/json": components["schemas"]["PasswordChange"];
            };
        };
        responses: {
            /** @description Success. The response has no body. */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["MalformedJsonOrMalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpiredOrInvalidCredentials"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            413: components["responses"]["PayloadTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailedOrWeakPassword"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    logOut: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. The response has no body. */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    listSessions: {
        parameters: {
            query?: {
                /**
                 * @description The maximum number of items in a page.
                 * @example 20
                 */
                limit?: number;
                /** @description The `next_cursor` of the previous page. Opaque, and valid only for the same list with the same filters and sort. */
                cursor?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "items": [
                     *         {
                     *           "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "current": true,
                     *           "user_agent": "curl/8.5.0",
                     *           "address": "203.0.113.7",
                     *           "created_at": "2026-11-23T03:14:07.123Z",
                     *           "last_used_at": "2026-11-23T03:14:07.123Z",
                     *           "expires_at": "2026-11-23T03:14:07.123Z"
                     *         }
                     *       ],
                     *       "next_cursor": "WyJwcm9qZWN0cyJd"
                     *     }
                     */
                    "application/json": components["schemas"]["SessionPage"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["Forbidden"];
            422: components["responses"]["ValidationFailedOrInvalidCursor"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    endOtherSessions: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. The response has no body. */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    endSession: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description The session. */
                session_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. The response has no body. */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    listApiTokens: {
        parameters: {
            query?: {
                /**
                 * @description The maximum number of items in a page.
                 * @example 20
                 */
                limit?: number;
                /** @description The `next_cursor` of the previous page. Opaque, and valid only for the same list with the same filters and sort. */
                cursor?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "items": [
                     *         {
                     *           "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "name": "nightly report",
                     *           "scopes": [
                     *             "read",
                     *             "write"
                     *           ],
                     *           "expires_at": null,
                     *           "last_used_at": null,
                     *           "created_at": "2026-11-23T03:14:07.123Z"
                     *         }
                     *       ],
                     *       "next_cursor": "WyJwcm9qZWN0cyJd"
                     *     }
                     */
                    "application/json": components["schemas"]["ApiTokenPage"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["Forbidden"];
            422: components["responses"]["ValidationFailedOrInvalidCursor"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    createApiToken: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "nightly report",
                 *       "scopes": [
                 *         "read",
                 *         "write"
                 *       ]
                 *     }
                 */
                "application/json": components["schemas"]["ApiTokenCreate"];
            };
        };
        responses: {
            /** @description Created. */
            201: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "name": "nightly report",
                     *       "scopes": [
                     *         "read",
                     *         "write"
                     *       ],
                     *       "expires_at": null,
                     *       "last_used_at": null,
                     *       "created_at": "2026-11-23T03:14:07.123Z",
                     *       "token": "mt_q3Xv1mJ0b9K7yT5sR2wZ8nL4cF6hG1dE0aU9iO3pVxY"
                     *     }
                     */
                    "application/json": components["schemas"]["ApiTokenCreated"];
                };
            };
            400: components["responses"]["MalformedJsonOrMalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["PayloadTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    deleteApiToken: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description The API token. */
                token_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. The response has no body. */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    listCalendarAddresses: {
        parameters: {
            query?: {
                /**
                 * @description The maximum number of items in a page.
                 * @example 20
                 */
                limit?: number;
                /** @description The `next_cursor` of the previous page. Opaque, and valid only for the same list with the same filters and sort. */
                cursor?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "items": [
                     *         {
                     *           "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "name": "phone",
                     *           "last_used_at": null,
                     *           "created_at": "2026-11-23T03:14:07.123Z"
                     *         }
                     *       ],
                     *       "next_cursor": "WyJwcm9qZWN0cyJd"
                     *     }
                     */
                    "application/json": components["schemas"]["CalendarAddressPage"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["Forbidden"];
            422: components["responses"]["ValidationFailedOrInvalidCursor"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    createCalendarAddress: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "phone"
                 *     }
                 */
                "application/json": components["schemas"]["CalendarAddressCreate"];
            };
        };
        responses: {
            /** @description Created. */
            201: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "name": "phone",
                     *       "last_used_at": null,
                     *       "created_at": "2026-11-23T03:14:07.123Z",
                     *       "url": "https://todo.example.org/calendars/q3Xv1mJ0b9K7yT5sR2wZ8nL4cF6hG1dE0aU9iO3pVxY.ics"
                     *     }
                     */
                    "application/json": components["schemas"]["CalendarAddressCreated"];
                };
            };
            400: components["responses"]["MalformedJsonOrMalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["PayloadTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    deleteCalendarAddress: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description The address. */
                calendar_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. The response has no body. */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    listLeftProjects: {
        parameters: {
            query?: {
                /**
                 * @description The maximum number of items in a page.
                 * @example 20
                 */
                limit?: number;
                /** @description The `next_cursor` of the previous page. Opaque, and valid only for the same list with the same filters and sort. */
                cursor?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "items": [
                     *         {
                     *           "project_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "name": "Kitchen",
                     *           "left_at": "2026-11-23T03:14:07.123Z"
                     *         }
                     *       ],
                     *       "next_cursor": "WyJwcm9qZWN0cyJd"
                     *     }
                     */
                    "application/json": components["schemas"]["LeftProjectPage"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["Forbidden"];
            422: components["responses"]["ValidationFailedOrInvalidCursor"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    forgetLeftProject: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description The project. */
                project_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. The response has no body. */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    acceptInvitation: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The token of the invitation.
                 * @example mi_q3Xv1mJ0b9K7yT5sR2wZ8nL4cF6hG1dE0aU9iO3pVxY
                 */
                token: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "project_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "user_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "username": "bob",
                     *       "role": "editor",
                     *       "created_at": "2026-11-23T03:14:07.123Z"
                     *     }
                     */
                    "application/json": components["schemas"]["Membership"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            410: components["responses"]["InvitationEnded"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    listWebhooks: {
        parameters: {
            query?: {
                /**
                 * @description The maximum number of items in a page.
                 * @example 20
                 */
                limit?: number;
                /** @description The `next_cursor` of the previous page. Opaque, and valid only for the same list with the same filters and sort. */
                cursor?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "items": [
                     *         {
                     *           "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "url": "https://example.org/hooks/mantou",
                     *           "name": "chat",
                     *           "project_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "actions": [
                     *             "task.created",
                     *             "task.updated"
                     *           ],
                     *           "state": "active",
                     *           "disabled_reason": null,
                     *           "cursor": "WyJhIiwiYiIsMTJd",
                     *           "pending": 0,
                     *           "missed": false,
                     *           "last_success_at": "2026-11-23T03:14:07.123Z",
                     *           "last_failure": {
                     *             "at": "2026-11-23T03:14:07.123Z",
                     *             "status": 500,
                     *             "error": "status"
                     *           },
                     *           "created_at": "2026-11-23T03:14:07.123Z",
                     *           "updated_at": "2026-11-23T03:14:07.123Z"
                     *         }
                     *       ],
                     *       "next_cursor": "WyJwcm9qZWN0cyJd"
                     *     }
                     */
                    "application/json": components["schemas"]["WebhookPage"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["Forbidden"];
            422: components["responses"]["ValidationFailedOrInvalidCursor"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            501: components["responses"]["NotImplemented"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    createWebhook: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "url": "https://example.org/hooks/mantou",
                 *       "name": "chat",
                 *       "actions": [
                 *         "task.created",
                 *         "task.updated"
                 *       ]
                 *     }
                 */
                "application/json": components["schemas"]["WebhookCreate"];
            };
        };
        responses: {
            /** @description Created. */
            201: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "url": "https://example.org/hooks/mantou",
                     *       "name": "chat",
                     *       "project_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "actions": [
                     *         "task.created",
                     *         "task.updated"
                     *       ],
                     *       "state": "active",
                     *       "disabled_reason": null,
                     *       "cursor": "WyJhIiwiYiIsMTJd",
                     *       "pending": 0,
                     *       "missed": false,
                     *       "last_success_at": "2026-11-23T03:14:07.123Z",
                     *       "last_failure": {
                     *         "at": "2026-11-23T03:14:07.123Z",
                     *         "status": 500,
                     *         "error": "status"
                     *       },
                     *       "created_at": "2026-11-23T03:14:07.123Z",
                     *       "updated_at": "2026-11-23T03:14:07.123Z",
                     *       "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
                     *     }
                     */
                    "application/json": components["schemas"]["WebhookCreated"];
                };
            };
            400: components["responses"]["MalformedJsonOrMalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["PayloadTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            501: components["responses"]["NotImplemented"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    readWebhook: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description The webhook. */
                webhook_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "url": "https://example.org/hooks/mantou",
                     *       "name": "chat",
                     *       "project_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "actions": [
                     *         "task.created",
                     *         "task.updated"
                     *       ],
                     *       "state": "active",
                     *       "disabled_reason": null,
                     *       "cursor": "WyJhIiwiYiIsMTJd",
                     *       "pending": 0,
                     *       "missed": false,
                     *       "last_success_at": "2026-11-23T03:14:07.123Z",
                     *       "last_failure": {
                     *         "at": "2026-11-23T03:14:07.123Z",
                     *         "status": 500,
                     *         "error": "status"
                     *       },
                     *       "created_at": "2026-11-23T03:14:07.123Z",
                     *       "updated_at": "2026-11-23T03:14:07.123Z"
                     *     }
                     */
                    "application/json": components["schemas"]["Webhook"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            501: components["responses"]["NotImplemented"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    deleteWebhook: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description The webhook. */
                webhook_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. The response has no body. */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            501: components["responses"]["NotImplemented"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    patchWebhook: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description The webhook. */
                webhook_id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "url": "https://example.org/hooks/mantou",
                 *       "name": "chat",
                 *       "actions": [
                 *         "task.created",
                 *         "task.updated"
                 *       ],
                 *       "state": "active"
                 *     }
                 */
                "application/json": components["schemas"]["WebhookPatch"];
                /**
                 * @example {
                 *       "url": "https://example.org/hooks/mantou",
                 *       "name": "chat",
                 *       "actions": [
                 *         "task.created",
                 *         "task.updated"
                 *       ],
                 *       "state": "active"
                 *     }
                 */
                "application/merge-patch+json": components["schemas"]["WebhookPatch"];
            };
        };
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "url": "https://example.org/hooks/mantou",
                     *       "name": "chat",
                     *       "project_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "actions": [
                     *         "task.created",
                     *         "task.updated"
                     *       ],
                     *       "state": "active",
                     *       "disabled_reason": null,
                     *       "cursor": "WyJhIiwiYiIsMTJd",
                     *       "pending": 0,
                     *       "missed": false,
                     *       "last_success_at": "2026-11-23T03:14:07.123Z",
                     *       "last_failure": {
                     *         "at": "2026-11-23T03:14:07.123Z",
                     *         "status": 500,
                     *         "error": "status"
                     *       },
                     *       "created_at": "2026-11-23T03:14:07.123Z",
                     *       "updated_at": "2026-11-23T03:14:07.123Z"
                     *     }
                     */
                    "application/json": components["schemas"]["Webhook"];
                };
            };
            400: components["responses"]["MalformedJsonOrMalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            404: components["responses"]["NotFound"];
            413: components["responses"]["PayloadTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            501: components["responses"]["NotImplemented"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    listWebhookDeliveries: {
        parameters: {
            query?: {
                /**
                 * @description The maximum number of items in a page.
                 * @example 20
                 */
                limit?: number;
                /** @description The `next_cursor` of the previous page. Opaque, and valid only for the same list with the same filters and sort. */
                cursor?: string;
            };
            header?: never;
            path: {
                /** @description The webhook. */
                webhook_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "items": [
                     *         {
                     *           "event_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "action": "task.updated",
                     *           "tries": 1,
                     *           "status": 204,
                     *           "error": null,
                     *           "duration_ms": 42,
                     *           "response": "ok",
                     *           "at": "2026-11-23T03:14:07.123Z"
                     *         }
                     *       ],
                     *       "next_cursor": "WyJwcm9qZWN0cyJd"
                     *     }
                     */
                    "application/json": components["schemas"]["WebhookDeliveryPage"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["ValidationFailedOrInvalidCursor"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            501: components["responses"]["NotImplemented"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    pingWebhook: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description The webhook. */
                webhook_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "event_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "action": "task.updated",
                     *       "tries": 1,
                     *       "status": 204,
                     *       "error": null,
                     *       "duration_ms": 42,
                     *       "response": "ok",
                     *       "at": "2026-11-23T03:14:07.123Z"
                     *     }
                     */
                    "application/json": components["schemas"]["WebhookDelivery"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            501: components["responses"]["NotImplemented"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    replayWebhook: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description The webhook. */
                webhook_id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "since": "WyJhIiwiYiIsMTJd"
                 *     }
                 */
                "application/json": components["schemas"]["WebhookReplay"];
            };
        };
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "url": "https://example.org/hooks/mantou",
                     *       "name": "chat",
                     *       "project_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "actions": [
                     *         "task.created",
                     *         "task.updated"
                     *       ],
                     *       "state": "active",
                     *       "disabled_reason": null,
                     *       "cursor": "WyJhIiwiYiIsMTJd",
                     *       "pending": 0,
                     *       "missed": false,
                     *       "last_success_at": "2026-11-23T03:14:07.123Z",
                     *       "last_failure": {
                     *         "at": "2026-11-23T03:14:07.123Z",
                     *         "status": 500,
                     *         "error": "status"
                     *       },
                     *       "created_at": "2026-11-23T03:14:07.123Z",
                     *       "updated_at": "2026-11-23T03:14:07.123Z"
                     *     }
                     */
                    "application/json": components["schemas"]["Webhook"];
                };
            };
            400: components["responses"]["MalformedJsonOrMalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            404: components["responses"]["NotFound"];
            410: components["responses"]["CursorExpired"];
            413: components["responses"]["PayloadTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailedOrInvalidCursor"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            501: components["responses"]["NotImplemented"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    rotateWebhookSecret: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description The webhook. */
                webhook_id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /** @example {} */
                "application/json": components["schemas"]["WebhookRotation"];
            };
        };
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                     *       "previous_secret_until": "2026-11-23T03:14:07.123Z"
                     *     }
                     */
                    "application/json": components["schemas"]["WebhookSecret"];
                };
            };
            400: components["responses"]["MalformedJsonOrMalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            404: components["responses"]["NotFound"];
            413: components["responses"]["PayloadTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            501: components["responses"]["NotImplemented"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    exportAccount: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "format": "mantou-account",
                     *       "format_version": 1,
                     *       "exported_at": "2026-11-23T03:14:07.123Z",
                     *       "user": {
                     *         "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *         "username": "ada",
                     *         "email": "ada@example.org",
                     *         "created_at": "2026-11-23T03:14:07.123Z",
                     *         "updated_at": "2026-11-23T03:14:07.123Z"
                     *       },
                     *       "projects": [
                     *         {
                     *           "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "name": "Kitchen",
                     *           "description": "New tiles, new light",
                     *           "archived_at": null,
                     *           "viewers_may_comment": false,
                     *           "created_at": "2026-11-23T03:14:07.123Z",
                     *           "updated_at": "2026-11-23T03:14:07.123Z",
                     *           "version": 1,
                     *           "members": [
                     *             {
                     *               "user_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *               "username": "bob",
                     *               "role": "editor",
                     *               "created_at": "2026-11-23T03:14:07.123Z"
                     *             }
                     *           ],
                     *           "tasks": [
                     *             {
                     *               "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *               "project_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *               "title": "Choose the tiles",
                     *               "description": "Slate or terracotta?",
                     *               "status": "todo",
                     *               "priority": 2,
                     *               "due_at": "2026-11-23T03:14:07.123Z",
                     *               "due_on": null,
                     *               "assignee_id": null,
                     *               "labels": [
                     *                 "shopping"
                     *               ],
                     *               "parent_id": null,
                     *               "blocked_by": [],
                     *               "completed_at": null,
                     *               "created_at": "2026-11-23T03:14:07.123Z",
                     *               "updated_at": "2026-11-23T03:14:07.123Z",
                     *               "created_by": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *               "version": 1,
                     *               "comment_count": 0,
                     *               "subtask_counts": {
                     *                 "open": 2,
                     *                 "done": 1
                     *               },
                     *               "is_blocked": false
                     *             }
                     *           ],
                     *           "comments": [
                     *             {
                     *               "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *               "task_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *               "author_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *               "body": "Slate, please: it hides **everything**.",
                     *               "created_at": "2026-11-23T03:14:07.123Z",
                     *               "edited_at": null,
                     *               "version": 1
                     *             }
                     *           ]
                     *         }
                     *       ]
                     *     }
                     */
                    "application/json": components["schemas"]["AccountExport"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    listProjects: {
        parameters: {
            query?: {
                /**
                 * @description The maximum number of items in a page.
                 * @example 20
                 */
                limit?: number;
                /** @description The `next_cursor` of the previous page. Opaque, and valid only for the same list with the same filters and sort. */
                cursor?: string;
                /**
                 * @description The sort order; a leading `-` means descending. Nulls come last in both.
                 * @example -created_at
                 */
                sort?: "created_at" | "-created_at" | "updated_at" | "-updated_at" | "name" | "-name";
                /**
                 * @description Which projects to list: `false` those that are not archived, `true` the archived ones, `any` both.
                 * @example any
                 */
                archived?: "false" | "true" | "any";
                /**
                 * @description Finds items where the name or the description contains every word; the last word matches as a prefix. Case and accents are ignored. In scripts without spaces between words, the text matches anywhere. It must contain a letter, a digit or a symbol; punctuation is ignored.
                 * @example tiles kit
                 */
                q?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "items": [
                     *         {
                     *           "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "name": "Kitchen",
                     *           "description": "New tiles, new light",
                     *           "archived_at": null,
                     *           "viewers_may_comment": false,
                     *           "created_at": "2026-11-23T03:14:07.123Z",
                     *           "updated_at": "2026-11-23T03:14:07.123Z",
                     *           "version": 1,
                     *           "role": "owner"
                     *         }
                     *       ],
                     *       "next_cursor": "WyJwcm9qZWN0cyJd"
                     *     }
                     */
                    "application/json": components["schemas"]["ProjectPage"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            422: components["responses"]["ValidationFailedOrInvalidCursor"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    createProject: {
        parameters: {
            query?: never;
            header?: {
                /** @description For 24 hours, a repeated request with the same key returns the stored response and does not run again. 1 to 255 visible ASCII characters. */
                "Idempotency-Key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "Kitchen",
                 *       "description": "New tiles, new light"
                 *     }
                 */
                "application/json": components["schemas"]["ProjectCreate"];
            };
        };
        responses: {
            /** @description Created. */
            201: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    ETag: components["headers"]["ETag"];
                    Location: components["headers"]["Location"];
                    "Idempotency-Replayed": components["headers"]["Idempotency-Replayed"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "name": "Kitchen",
                     *       "description": "New tiles, new light",
                     *       "archived_at": null,
                     *       "viewers_may_comment": false,
                     *       "created_at": "2026-11-23T03:14:07.123Z",
                     *       "updated_at": "2026-11-23T03:14:07.123Z",
                     *       "version": 1,
                     *       "role": "owner"
                     *     }
                     */
                    "application/json": components["schemas"]["Project"];
                };
            };
            400: components["responses"]["MalformedJsonOrMalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["InsufficientScope"];
            409: components["responses"]["IdTakenOrIdempotencyInFlight"];
            413: components["responses"]["PayloadTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailedOrIdempotencyKeyReused"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    readProject: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Return 304 without a body if this is the current version: the `ETag` of an earlier response.
                 * @example "3"
                 */
                "If-None-Match"?: string;
            };
            path: {
                /** @description The project. */
                project_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    ETag: components["headers"]["ETag"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "name": "Kitchen",
                     *       "description": "New tiles, new light",
                     *       "archived_at": null,
                     *       "viewers_may_comment": false,
                     *       "created_at": "2026-11-23T03:14:07.123Z",
                     *       "updated_at": "2026-11-23T03:14:07.123Z",
                     *       "version": 1,
                     *       "role": "owner"
                     *     }
                     */
                    "application/json": components["schemas"]["Project"];
                };
            };
            /** @description Not modified: `If-None-Match` names the current version. */
            304: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    ETag: components["headers"]["ETag"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    deleteProject: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Write only if this is the current version: the `ETag` of an earlier response.
                 * @example "3"
                 */
                "If-Match"?: string;
            };
            path: {
                /** @description The project. */
                project_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. The response has no body. */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            404: components["responses"]["NotFound"];
            412: components["responses"]["PreconditionFailed"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    patchProject: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Write only if this is the current version: the `ETag` of an earlier response.
                 * @example "3"
                 */
                "If-Match"?: string;
            };
            path: {
                /** @description The project. */
                project_id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "Kitchen",
                 *       "description": "New tiles, new light",
                 *       "archived": false,
                 *       "viewers_may_comment": false
                 *     }
                 */
                "application/json": components["schemas"]["ProjectPatch"];
                /**
                 * @example {
                 *       "name": "Kitchen",
                 *       "description": "New tiles, new light",
                 *       "archived": false,
                 *       "viewers_may_comment": false
                 *     }
                 */
                "application/merge-patch+json": components["schemas"]["ProjectPatch"];
            };
        };
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    ETag: components["headers"]["ETag"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "name": "Kitchen",
                     *       "description": "New tiles, new light",
                     *       "archived_at": null,
                     *       "viewers_may_comment": false,
                     *       "created_at": "2026-11-23T03:14:07.123Z",
                     *       "updated_at": "2026-11-23T03:14:07.123Z",
                     *       "version": 1,
                     *       "role": "owner"
                     *     }
                     */
                    "application/json": components["schemas"]["Project"];
                };
            };
            400: components["responses"]["MalformedJsonOrMalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            412: components["responses"]["PreconditionFailed"];
            413: components["responses"]["PayloadTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    listMembers: {
        parameters: {
            query?: {
                /**
                 * @description The maximum number of items in a page.
                 * @example 20
                 */
                limit?: number;
                /** @description The `next_cursor` of the previous page. Opaque, and valid only for the same list with the same filters and sort. */
                cursor?: string;
            };
            header?: never;
            path: {
                /** @description The project. */
                project_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "items": [
                     *         {
                     *           "user_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "username": "bob",
                     *           "role": "editor",
                     *           "created_at": "2026-11-23T03:14:07.123Z"
                     *         }
                     *       ],
                     *       "next_cursor": "WyJwcm9qZWN0cyJd"
                     *     }
                     */
                    "application/json": components["schemas"]["MemberPage"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["ValidationFailedOrInvalidCursor"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    addMember: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description The project. */
                project_id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "username": "bob",
                 *       "role": "editor"
                 *     }
                 */
                "application/json": components["schemas"]["MemberCreate"];
            };
        };
        responses: {
            /** @description Created. */
            201: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "user_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "username": "bob",
                     *       "role": "editor",
                     *       "created_at": "2026-11-23T03:14:07.123Z"
                     *     }
                     */
                    "application/json": components["schemas"]["Member"];
                };
            };
            400: components["responses"]["MalformedJsonOrMalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["PayloadTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    removeMember: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description The project. */
                project_id: string;
                /** @description The member. */
                user_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. The response has no body. */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    patchMember: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description The project. */
                project_id: string;
                /** @description The member. */
                user_id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "role": "viewer"
                 *     }
                 */
                "application/json": components["schemas"]["MemberPatch"];
                /**
                 * @example {
                 *       "role": "viewer"
                 *     }
                 */
                "application/merge-patch+json": components["schemas"]["MemberPatch"];
            };
        };
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "user_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "username": "bob",
                     *       "role": "editor",
                     *       "created_at": "2026-11-23T03:14:07.123Z"
                     *     }
                     */
                    "application/json": components["schemas"]["Member"];
                };
            };
            400: components["responses"]["MalformedJsonOrMalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["PayloadTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    listInvitations: {
        parameters: {
            query?: {
                /**
                 * @description The maximum number of items in a page.
                 * @example 20
                 */
                limit?: number;
                /** @description The `next_cursor` of the previous page. Opaque, and valid only for the same list with the same filters and sort. */
                cursor?: string;
            };
            header?: never;
            path: {
                /** @description The project. */
                project_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "items": [
                     *         {
                     *           "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "role": "viewer",
                     *           "state": "open",
                     *           "uses": 0,
                     *           "uses_max": 1,
                     *           "expires_at": "2026-11-23T03:14:07.123Z",
                     *           "created_at": "2026-11-23T03:14:07.123Z"
                     *         }
                     *       ],
                     *       "next_cursor": "WyJwcm9qZWN0cyJd"
                     *     }
                     */
                    "application/json": components["schemas"]["InvitationPage"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["ValidationFailedOrInvalidCursor"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    createInvitation: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description The project. */
                project_id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "role": "viewer",
                 *       "expires_at": "2026-12-24T18:00:00+01:00",
                 *       "uses_max": 1
                 *     }
                 */
                "application/json": components["schemas"]["InvitationCreate"];
            };
        };
        responses: {
            /** @description Created. */
            201: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "role": "viewer",
                     *       "state": "open",
                     *       "uses": 0,
                     *       "uses_max": 1,
                     *       "expires_at": "2026-11-23T03:14:07.123Z",
                     *       "created_at": "2026-11-23T03:14:07.123Z",
                     *       "token": "mi_q3Xv1mJ0b9K7yT5sR2wZ8nL4cF6hG1dE0aU9iO3pVxY"
                     *     }
                     */
                    "application/json": components["schemas"]["InvitationCreated"];
                };
            };
            400: components["responses"]["MalformedJsonOrMalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["PayloadTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    revokeInvitation: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description The project. */
                project_id: string;
                /** @description The invitation. */
                invitation_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. The response has no body. */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    exportProject: {
        parameters: {
            query?: {
                /**
                 * @description `json` can be imported again, `csv` is for spreadsheets. If omitted, the `Accept` header decides, and otherwise `json`.
                 * @example json
                 */
                format?: "json" | "csv";
                /**
                 * @description Matches tasks with any of these statuses.
                 * @example [
                 *       "todo",
                 *       "in_progress"
                 *     ]
                 */
                status?: components["schemas"]["TaskStatus"][];
                /**
                 * @description Leaves out tasks with these statuses.
                 * @example [
                 *       "done",
                 *       "cancelled"
                 *     ]
                 */
                status_not?: components["schemas"]["TaskStatus"][];
                /**
                 * @description Matches tasks with any of these labels, up to 20, exactly as written. An empty item matches tasks without labels: `label=`, or `label=shopping,`.
                 * @example [
                 *       "shopping",
                 *       "urgent"
                 *     ]
                 */
                label?: string[];
                /**
                 * @description Matches tasks with all of these labels.
                 * @example [
                 *       "shopping",
                 *       "urgent"
                 *     ]
                 */
                label_all?: string[];
                /**
                 * @description Leaves out tasks with these labels. An empty item leaves out tasks without labels.
                 * @example [
                 *       "waiting"
                 *     ]
                 */
                label_not?: string[];
                /**
                 * @description Exactly this priority.
                 * @example 4
                 */
                priority?: number;
                /**
                 * @description This priority or above.
                 * @example 3
                 */
                priority_min?: number;
                /**
                 * @description This priority or below.
                 * @example 2
                 */
                priority_max?: number;
                /**
                 * @description `me`, `none` (unassigned), or the id of a user.
                 * @example me
                 */
                assignee_id?: string;
                /**
                 * @description `me`, or the id of a user.
                 * @example me
                 */
                created_by?: string;
                /**
                 * @description `none` (no subtasks), or the id of a task: its subtasks.
                 * @example none
                 */
                parent_id?: string;
                /**
                 * @description Whether a task of `blocked_by` is open.
                 * @example false
                 */
                blocked?: "true" | "false";
                /**
                 * @description Tasks without a due date, or with any.
                 * @example none
                 */
                due?: "none" | "any";
                /**
                 * @description Due at this time or later. Windows from `due_from` to `due_before` tile. A task with `due_on` counts as due at the end of that day. A date means the beginning of that day in UTC.
                 * @example 2026-12-24
                 */
                due_from?: string;
                /**
                 * @description Due after this time. A date means the end of that day in UTC.
                 * @example 2026-12-24T18:00:00+01:00
                 */
                due_after?: string;
                /**
                 * @description Due before this time, which is after `due_from` and `due_after`. A date means the beginning of that day in UTC.
                 * @example 2026-12-31
                 */
                due_before?: string;
                /**
                 * @description Done at this time or later. A date means the beginning of that day in UTC.
                 * @example 2026-12-24
                 */
                completed_from?: string;
                /**
                 * @description Done before this time. A date means the beginning of that day in UTC.
                 * @example 2026-12-31T18:00:00+01:00
                 */
                completed_before?: string;
                /**
                 * @description Last changed at this time or later. A date means the beginning of that day in UTC.
                 * @example 2026-12-24T18:00:00+01:00
                 */
                updated_from?: string;
                /**
                 * @description Last changed before this time. A date means the beginning of that day in UTC.
                 * @example 2026-12-31T18:00:00+01:00
                 */
                updated_before?: string;
                /**
                 * @description Created at this time or later. A date means the beginning of that day in UTC.
                 * @example 2026-12-24T18:00:00+01:00
                 */
                created_from?: string;
                /**
                 * @description Created before this time. A date means the beginning of that day in UTC.
                 * @example 2026-12-31T18:00:00+01:00
                 */
                created_before?: string;
                /**
                 * @description Finds items where the title or the description contains every word; the last word matches as a prefix. Case and accents are ignored. In scripts without spaces between words, the text matches anywhere. It must contain a letter, a digit or a symbol; punctuation is ignored.
                 * @example tiles kit
                 */
                q?: string;
                /**
                 * @description Where `q` looks, by default in `title,description`. All words have to occur in the title and the description together, or, with `comments`, in one comment.
                 * @example [
                 *       "title",
                 *       "description",
                 *       "comments"
                 *     ]
                 */
                in?: components["schemas"]["SearchedText"][];
            };
            header?: never;
            path: {
                /** @description The project. */
                project_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "format": "mantou-project",
                     *       "format_version": 1,
                     *       "exported_at": "2026-11-23T03:14:07.123Z",
                     *       "project": {
                     *         "name": "Kitchen",
                     *         "description": "New tiles, new light",
                     *         "archived_at": null,
                     *         "created_at": "2026-11-23T03:14:07.123Z",
                     *         "updated_at": "2026-11-23T03:14:07.123Z",
                     *         "viewers_may_comment": false
                     *       },
                     *       "tasks": [
                     *         {
                     *           "title": "Choose the tiles",
                     *           "description": "Slate or terracotta?",
                     *           "status": "todo",
                     *           "priority": 2,
                     *           "due_at": "2026-11-23T03:14:07.123Z",
                     *           "assignee": null,
                     *           "labels": [
                     *             "shopping"
                     *           ],
                     *           "completed_at": null,
                     *           "created_at": "2026-11-23T03:14:07.123Z",
                     *           "updated_at": "2026-11-23T03:14:07.123Z",
                     *           "created_by": "ada",
                     *           "ref": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "blocked_by": []
                     *         }
                     *       ],
                     *       "comments": [
                     *         {
                     *           "task": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "body": "Slate, please: it hides **everything**.",
                     *           "author": "ada",
                     *           "created_at": "2026-11-23T03:14:07.123Z",
                     *           "edited_at": null
                     *         }
                     *       ]
                     *     }
                     */
                    "application/json": components["schemas"]["ProjectExport"];
                    /** @example id,title,description,status,priority,due_at,due_on,assignee,labels,completed_at,created_at,updated_at,created_by,parent_id,blocked_by */
                    "text/csv": components["schemas"]["TaskTable"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    importProject: {
        parameters: {
            query?: {
                /**
                 * @description The format of the document. If omitted, its media type and its shape tell: `mantou` is the export of this API; `csv` has a column `title`; `todotxt` takes todo.txt and done.txt.
                 * @example icalendar
                 */
                format?: "mantou" | "icalendar" | "csv" | "todoist" | "trello" | "taskwarrior" | "todotxt" | "github";
                /**
                 * @description The IANA time zone of local times in the document of another program. If omitted, `UTC`. A document of ours has no local times.
                 * @example Europe/Berlin
                 */
                time_zone?: string;
                /**
                 * @description The name of the new project, in place of the one in the document. In a Taskwarrior document it is for the tasks that name no project.
                 * @example Kitchen
                 */
                name?: string;
                /**
                 * @description `true` reads the document and returns the report, and writes nothing.
                 * @example true
                 */
                dry_run?: "false" | "true";
            };
            header?: {
                /** @description For 24 hours, a repeated request with the same key returns the stored response and does not run again. 1 to 255 visible ASCII characters. */
                "Idempotency-Key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "format": "mantou-project",
                 *       "format_version": 1,
                 *       "exported_at": "2026-11-23T03:14:07.123Z",
                 *       "project": {
                 *         "name": "Kitchen",
                 *         "description": "New tiles, new light",
                 *         "archived_at": null,
                 *         "created_at": "2026-11-23T03:14:07.123Z",
                 *         "updated_at": "2026-11-23T03:14:07.123Z",
                 *         "viewers_may_comment": false
                 *       },
                 *       "tasks": [
                 *         {
                 *           "title": "Choose the tiles",
                 *           "description": "Slate or terracotta?",
                 *           "status": "todo",
                 *           "priority": 2,
                 *           "due_at": "2026-11-23T03:14:07.123Z",
                 *           "assignee": null,
                 *           "labels": [
                 *             "shopping"
                 *           ],
                 *           "completed_at": null,
                 *           "created_at": "2026-11-23T03:14:07.123Z",
                 *           "updated_at": "2026-11-23T03:14:07.123Z",
                 *           "created_by": "ada",
                 *           "ref": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                 *           "blocked_by": []
                 *         }
                 *       ],
                 *       "comments": [
                 *         {
                 *           "task": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                 *           "body": "Slate, please: it hides **everything**.",
                 *           "author": "ada",
                 *           "created_at": "2026-11-23T03:14:07.123Z",
                 *           "edited_at": null
                 *         }
                 *       ]
                 *     }
                 */
                "application/json": components["schemas"]["ProjectExport"];
                /** @example x 2026-11-28 Call the tiler +Kitchen @phone */
                "text/calendar": components["schemas"]["ForeignText"];
                /** @example x 2026-11-28 Call the tiler +Kitchen @phone */
                "text/csv": components["schemas"]["ForeignText"];
                /** @example x 2026-11-28 Call the tiler +Kitchen @phone */
                "text/plain": components["schemas"]["ForeignText"];
            };
        };
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    "Idempotency-Replayed": components["headers"]["Idempotency-Replayed"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "format": "icalendar",
                     *       "time_zone": "Europe/Berlin",
                     *       "projects": [
                     *         {
                     *           "name": "Kitchen",
                     *           "tasks": 1
                     *         }
                     *       ],
                     *       "tasks": 1,
                     *       "left_out": 0,
                     *       "notes_total": 1,
                     *       "codes": [
                     *         {
                     *           "code": "recurrence_left_out",
                     *           "count": 1
                     *         }
                     *       ],
                     *       "notes": [
                     *         {
                     *           "line": 12,
                     *           "item": 3,
                     *           "title": "Choose the tiles",
                     *           "code": "recurrence_left_out",
                     *           "field": "RRULE",
                     *           "value": "FREQ=WEEKLY",
                     *           "message": "is not kept: only the next date is"
                     *         }
                     *       ]
                     *     }
                     */
                    "application/json": components["schemas"]["ImportReport"];
                };
            };
            /** @description Created. */
            201: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    Location: components["headers"]["Location"];
                    "Idempotency-Replayed": components["headers"]["Idempotency-Replayed"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "project": {
                     *         "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *         "name": "Kitchen",
                     *         "description": "New tiles, new light",
                     *         "archived_at": null,
                     *         "viewers_may_comment": false,
                     *         "created_at": "2026-11-23T03:14:07.123Z",
                     *         "updated_at": "2026-11-23T03:14:07.123Z",
                     *         "version": 1,
                     *         "role": "owner"
                     *       },
                     *       "tasks": 1,
                     *       "comments": 0,
                     *       "unassigned_total": 1,
                     *       "unassigned": [
                     *         {
                     *           "line": 4,
                     *           "task_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "username": "grace"
                     *         }
                     *       ],
                     *       "projects": [
                     *         {
                     *           "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "name": "Kitchen",
                     *           "description": "New tiles, new light",
                     *           "archived_at": null,
                     *           "viewers_may_comment": false,
                     *           "created_at": "2026-11-23T03:14:07.123Z",
                     *           "updated_at": "2026-11-23T03:14:07.123Z",
                     *           "version": 1,
                     *           "role": "owner"
                     *         }
                     *       ],
                     *       "report": {
                     *         "format": "icalendar",
                     *         "time_zone": "Europe/Berlin",
                     *         "projects": [
                     *           {
                     *             "name": "Kitchen",
                     *             "tasks": 1
                     *           }
                     *         ],
                     *         "tasks": 1,
                     *         "left_out": 0,
                     *         "notes_total": 1,
                     *         "codes": [
                     *           {
                     *             "code": "recurrence_left_out",
                     *             "count": 1
                     *           }
                     *         ],
                     *         "notes": [
                     *           {
                     *             "line": 12,
                     *             "item": 3,
                     *             "title": "Choose the tiles",
                     *             "code": "recurrence_left_out",
                     *             "field": "RRULE",
                     *             "value": "FREQ=WEEKLY",
                     *             "message": "is not kept: only the next date is"
                     *           }
                     *         ]
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["ProjectImported"];
                };
            };
            400: components["responses"]["MalformedJsonOrMalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["InsufficientScope"];
            409: components["responses"]["IdTakenOrIdempotencyInFlight"];
            413: components["responses"]["PayloadTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailedOrIdempotencyKeyReused"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    readCalendar: {
        parameters: {
            query?: {
                /**
                 * @description Lists only these of your projects, up to 50. One that you do not see is `not_found`.
                 * @example [
                 *       "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23"
                 *     ]
                 */
                project_id?: string[];
                /**
                 * @description `tasks` (default) writes each as a `VTODO`. `events` writes it as a `VEVENT` that takes no time, for programs that show no tasks, such as Google Calendar, Outlook, Apple Calendar and khal.
                 * @example events
                 */
                as?: "tasks" | "events";
                /**
                 * @description Matches tasks with any of these statuses.
                 * @example [
                 *       "todo",
                 *       "in_progress"
                 *     ]
                 */
                status?: components["schemas"]["TaskStatus"][];
                /**
                 * @description Leaves out tasks with these statuses.
                 * @example [
                 *       "done",
                 *       "cancelled"
                 *     ]
                 */
                status_not?: components["schemas"]["TaskStatus"][];
                /**
                 * @description Matches tasks with any of these labels, up to 20, exactly as written. An empty item matches tasks without labels: `label=`, or `label=shopping,`.
                 * @example [
                 *       "shopping",
                 *       "urgent"
                 *     ]
                 */
                label?: string[];
                /**
                 * @description Matches tasks with all of these labels.
                 * @example [
                 *       "shopping",
                 *       "urgent"
                 *     ]
                 */
                label_all?: string[];
                /**
                 * @description Leaves out tasks with these labels. An empty item leaves out tasks without labels.
                 * @example [
                 *       "waiting"
                 *     ]
                 */
                label_not?: string[];
                /**
                 * @description Exactly this priority.
                 * @example 4
                 */
                priority?: number;
                /**
                 * @description This priority or above.
                 * @example 3
                 */
                priority_min?: number;
                /**
                 * @description This priority or below.
                 * @example 2
                 */
                priority_max?: number;
                /**
                 * @description `me`, `none` (unassigned), or the id of a user.
                 * @example me
                 */
                assignee_id?: string;
                /**
                 * @description `me`, or the id of a user.
                 * @example me
                 */
                created_by?: string;
                /**
                 * @description `none` (no subtasks), or the id of a task: its subtasks.
                 * @example none
                 */
                parent_id?: string;
                /**
                 * @description Whether a task of `blocked_by` is open.
                 * @example false
                 */
                blocked?: "true" | "false";
                /**
                 * @description Due at this time or later. Windows from `due_from` to `due_before` tile. A task with `due_on` counts as due at the end of that day. A date means the beginning of that day in UTC.
                 * @example 2026-12-24
                 */
                due_from?: string;
                /**
                 * @description Due after this time. A date means the end of that day in UTC.
                 * @example 2026-12-24T18:00:00+01:00
                 */
                due_after?: string;
                /**
                 * @description Due before this time, which is after `due_from` and `due_after`. A date means the beginning of that day in UTC.
                 * @example 2026-12-31
                 */
                due_before?: string;
                /**
                 * @description Done at this time or later. A date means the beginning of that day in UTC.
                 * @example 2026-12-24
                 */
                completed_from?: string;
                /**
                 * @description Done before this time. A date means the beginning of that day in UTC.
                 * @example 2026-12-31T18:00:00+01:00
                 */
                completed_before?: string;
                /**
                 * @description Last changed at this time or later. A date means the beginning of that day in UTC.
                 * @example 2026-12-24T18:00:00+01:00
                 */
                updated_from?: string;
                /**
                 * @description Last changed before this time. A date means the beginning of that day in UTC.
                 * @example 2026-12-31T18:00:00+01:00
                 */
                updated_before?: string;
                /**
                 * @description Created at this time or later. A date means the beginning of that day in UTC.
                 * @example 2026-12-24T18:00:00+01:00
                 */
                created_from?: string;
                /**
                 * @description Created before this time. A date means the beginning of that day in UTC.
                 * @example 2026-12-31T18:00:00+01:00
                 */
                created_before?: string;
                /**
                 * @description Finds items where the title or the description contains every word; the last word matches as a prefix. Case and accents are ignored. In scripts without spaces between words, the text matches anywhere. It must contain a letter, a digit or a symbol; punctuation is ignored.
                 * @example tiles kit
                 */
                q?: string;
                /**
                 * @description Where `q` looks, by default in `title,description`. All words have to occur in the title and the description together, or, with `comments`, in one comment.
                 * @example [
                 *       "title",
                 *       "description",
                 *       "comments"
                 *     ]
                 */
                in?: components["schemas"]["SearchedText"][];
            };
            header?: {
                /**
                 * @description Return 304 without a body if this is the current version: the `ETag` of an earlier response.
                 * @example "3"
                 */
                "If-None-Match"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    ETag: components["headers"]["ETag"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example BEGIN:VCALENDAR
                     *     VERSION:2.0
                     *     PRODID:-//mantou//mantou//EN
                     *     END:VCALENDAR
                     */
                    "text/calendar": components["schemas"]["Calendar"];
                };
            };
            /** @description Not modified: `If-None-Match` names the current version. */
            304: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    ETag: components["headers"]["ETag"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["ValidationFailed"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    readProjectCalendar: {
        parameters: {
            query?: {
                /**
                 * @description `tasks` (default) writes each as a `VTODO`. `events` writes it as a `VEVENT` that takes no time, for programs that show no tasks, such as Google Calendar, Outlook, Apple Calendar and khal.
                 * @example events
                 */
                as?: "tasks" | "events";
                /**
                 * @description Matches tasks with any of these statuses.
                 * @example [
                 *       "todo",
                 *       "in_progress"
                 *     ]
                 */
                status?: components["schemas"]["TaskStatus"][];
                /**
                 * @description Leaves out tasks with these statuses.
                 * @example [
                 *       "done",
                 *       "cancelled"
                 *     ]
                 */
                status_not?: components["schemas"]["TaskStatus"][];
                /**
                 * @description Matches tasks with any of these labels, up to 20, exactly as written. An empty item matches tasks without labels: `label=`, or `label=shopping,`.
                 * @example [
                 *       "shopping",
                 *       "urgent"
                 *     ]
                 */
                label?: string[];
                /**
                 * @description Matches tasks with all of these labels.
                 * @example [
                 *       "shopping",
                 *       "urgent"
                 *     ]
                 */
                label_all?: string[];
                /**
                 * @description Leaves out tasks with these labels. An empty item leaves out tasks without labels.
                 * @example [
                 *       "waiting"
                 *     ]
                 */
                label_not?: string[];
                /**
                 * @description Exactly this priority.
                 * @example 4
                 */
                priority?: number;
                /**
                 * @description This priority or above.
                 * @example 3
                 */
                priority_min?: number;
                /**
                 * @description This priority or below.
                 * @example 2
                 */
                priority_max?: number;
                /**
                 * @description `me`, `none` (unassigned), or the id of a user.
                 * @example me
                 */
                assignee_id?: string;
                /**
                 * @description `me`, or the id of a user.
                 * @example me
                 */
                created_by?: string;
                /**
                 * @description `none` (no subtasks), or the id of a task: its subtasks.
                 * @example none
                 */
                parent_id?: string;
                /**
                 * @description Whether a task of `blocked_by` is open.
                 * @example false
                 */
                blocked?: "true" | "false";
                /**
                 * @description Due at this time or later. Windows from `due_from` to `due_before` tile. A task with `due_on` counts as due at the end of that day. A date means the beginning of that day in UTC.
                 * @example 2026-12-24
                 */
                due_from?: string;
                /**
                 * @description Due after this time. A date means the end of that day in UTC.
                 * @example 2026-12-24T18:00:00+01:00
                 */
                due_after?: string;
                /**
                 * @description Due before this time, which is after `due_from` and `due_after`. A date means the beginning of that day in UTC.
                 * @example 2026-12-31
                 */
                due_before?: string;
                /**
                 * @description Done at this time or later. A date means the beginning of that day in UTC.
                 * @example 2026-12-24
                 */
                completed_from?: string;
                /**
                 * @description Done before this time. A date means the beginning of that day in UTC.
                 * @example 2026-12-31T18:00:00+01:00
                 */
                completed_before?: string;
                /**
                 * @description Last changed at this time or later. A date means the beginning of that day in UTC.
                 * @example 2026-12-24T18:00:00+01:00
                 */
                updated_from?: string;
                /**
                 * @description Last changed before this time. A date means the beginning of that day in UTC.
                 * @example 2026-12-31T18:00:00+01:00
                 */
                updated_before?: string;
                /**
                 * @description Created at this time or later. A date means the beginning of that day in UTC.
                 * @example 2026-12-24T18:00:00+01:00
                 */
                created_from?: string;
                /**
                 * @description Created before this time. A date means the beginning of that day in UTC.
                 * @example 2026-12-31T18:00:00+01:00
                 */
                created_before?: string;
                /**
                 * @description Finds items where the title or the description contains every word; the last word matches as a prefix. Case and accents are ignored. In scripts without spaces between words, the text matches anywhere. It must contain a letter, a digit or a symbol; punctuation is ignored.
                 * @example tiles kit
                 */
                q?: string;
                /**
                 * @description Where `q` looks, by default in `title,description`. All words have to occur in the title and the description together, or, with `comments`, in one comment.
                 * @example [
                 *       "title",
                 *       "description",
                 *       "comments"
                 *     ]
                 */
                in?: components["schemas"]["SearchedText"][];
            };
            header?: {
                /**
                 * @description Return 304 without a body if this is the current version: the `ETag` of an earlier response.
                 * @example "3"
                 */
                "If-None-Match"?: string;
            };
            path: {
                /** @description The project. */
                project_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    ETag: components["headers"]["ETag"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example BEGIN:VCALENDAR
                     *     VERSION:2.0
                     *     PRODID:-//mantou//mantou//EN
                     *     END:VCALENDAR
                     */
                    "text/calendar": components["schemas"]["Calendar"];
                };
            };
            /** @description Not modified: `If-None-Match` names the current version. */
            304: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    ETag: components["headers"]["ETag"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["ValidationFailed"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    listTasks: {
        parameters: {
            query?: {
                /**
                 * @description The maximum number of items in a page.
                 * @example 20
                 */
                limit?: number;
                /** @description The `next_cursor` of the previous page. Opaque, and valid only for the same list with the same filters and sort. */
                cursor?: string;
                /**
                 * @description The sort order; a leading `-` means descending. Nulls come last in both.
                 * @example -created_at
                 */
                sort?: "created_at" | "-created_at" | "updated_at" | "-updated_at" | "due_at" | "-due_at" | "completed_at" | "-completed_at" | "priority" | "-priority" | "title" | "-title" | "position" | "-position";
                /**
                 * @description `people` adds the assignee and the creator of each task, with their names; `progress` adds `subtask_counts` and `is_blocked`.
                 * @example [
                 *       "people"
                 *     ]
                 */
                expand?: ("people" | "progress")[];
                /**
                 * @description Matches tasks with any of these statuses.
                 * @example [
                 *       "todo",
                 *       "in_progress"
                 *     ]
                 */
                status?: components["schemas"]["TaskStatus"][];
                /**
                 * @description Leaves out tasks with these statuses.
                 * @example [
                 *       "done",
                 *       "cancelled"
                 *     ]
                 */
                status_not?: components["schemas"]["TaskStatus"][];
                /**
                 * @description Matches tasks with any of these labels, up to 20, exactly as written. An empty item matches tasks without labels: `label=`, or `label=shopping,`.
                 * @example [
                 *       "shopping",
                 *       "urgent"
                 *     ]
                 */
                label?: string[];
                /**
                 * @description Matches tasks with all of these labels.
                 * @example [
                 *       "shopping",
                 *       "urgent"
                 *     ]
                 */
                label_all?: string[];
                /**
                 * @description Leaves out tasks with these labels. An empty item leaves out tasks without labels.
                 * @example [
                 *       "waiting"
                 *     ]
                 */
                label_not?: string[];
                /**
                 * @description Exactly this priority.
                 * @example 4
                 */
                priority?: number;
                /**
                 * @description This priority or above.
                 * @example 3
                 */
                priority_min?: number;
                /**
                 * @description This priority or below.
                 * @example 2
                 */
                priority_max?: number;
                /**
                 * @description `me`, `none` (unassigned), or the id of a user.
                 * @example me
                 */
                assignee_id?: string;
                /**
                 * @description `me`, or the id of a user.
                 * @example me
                 */
                created_by?: string;
                /**
                 * @description `none` (no subtasks), or the id of a task: its subtasks.
                 * @example none
                 */
                parent_id?: string;
                /**
                 * @description Whether a task of `blocked_by` is open.
                 * @example false
                 */
                blocked?: "true" | "false";
                /**
                 * @description Tasks without a due date, or with any.
                 * @example none
                 */
                due?: "none" | "any";
                /**
                 * @description Due at this time or later. Windows from `due_from` to `due_before` tile. A task with `due_on` counts as due at the end of that day. A date means the beginning of that day in UTC.
                 * @example 2026-12-24
                 */
                due_from?: string;
                /**
                 * @description Due after this time. A date means the end of that day in UTC.
                 * @example 2026-12-24T18:00:00+01:00
                 */
                due_after?: string;
                /**
                 * @description Due before this time, which is after `due_from` and `due_after`. A date means the beginning of that day in UTC.
                 * @example 2026-12-31
                 */
                due_before?: string;
                /**
                 * @description Done at this time or later. A date means the beginning of that day in UTC.
                 * @example 2026-12-24
                 */
                completed_from?: string;
                /**
                 * @description Done before this time. A date means the beginning of that day in UTC.
                 * @example 2026-12-31T18:00:00+01:00
                 */
                completed_before?: string;
                /**
                 * @description Last changed at this time or later. A date means the beginning of that day in UTC.
                 * @example 2026-12-24T18:00:00+01:00
                 */
                updated_from?: string;
                /**
                 * @description Last changed before this time. A date means the beginning of that day in UTC.
                 * @example 2026-12-31T18:00:00+01:00
                 */
                updated_before?: string;
                /**
                 * @description Created at this time or later. A date means the beginning of that day in UTC.
                 * @example 2026-12-24T18:00:00+01:00
                 */
                created_from?: string;
                /**
                 * @description Created before this time. A date means the beginning of that day in UTC.
                 * @example 2026-12-31T18:00:00+01:00
                 */
                created_before?: string;
                /**
                 * @description Finds items where the title or the description contains every word; the last word matches as a prefix. Case and accents are ignored. In scripts without spaces between words, the text matches anywhere. It must contain a letter, a digit or a symbol; punctuation is ignored.
                 * @example tiles kit
                 */
                q?: string;
                /**
                 * @description Where `q` looks, by default in `title,description`. All words have to occur in the title and the description together, or, with `comments`, in one comment.
                 * @example [
                 *       "title",
                 *       "description",
                 *       "comments"
                 *     ]
                 */
                in?: components["schemas"]["SearchedText"][];
            };
            header?: never;
            path: {
                /** @description The project. */
                project_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "items": [
                     *         {
                     *           "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "project_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "title": "Choose the tiles",
                     *           "description": "Slate or terracotta?",
                     *           "status": "todo",
                     *           "priority": 2,
                     *           "due_at": "2026-11-23T03:14:07.123Z",
                     *           "due_on": null,
                     *           "assignee_id": null,
                     *           "labels": [
                     *             "shopping"
                     *           ],
                     *           "parent_id": null,
                     *           "blocked_by": [],
                     *           "completed_at": null,
                     *           "created_at": "2026-11-23T03:14:07.123Z",
                     *           "updated_at": "2026-11-23T03:14:07.123Z",
                     *           "created_by": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "version": 1,
                     *           "comment_count": 0,
                     *           "subtask_counts": {
                     *             "open": 2,
                     *             "done": 1
                     *           },
                     *           "is_blocked": false
                     *         }
                     *       ],
                     *       "next_cursor": "WyJwcm9qZWN0cyJd"
                     *     }
                     */
                    "application/json": components["schemas"]["TaskPage"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["ValidationFailedOrInvalidCursor"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    createTask: {
        parameters: {
            query?: never;
            header?: {
                /** @description For 24 hours, a repeated request with the same key returns the stored response and does not run again. 1 to 255 visible ASCII characters. */
                "Idempotency-Key"?: string;
            };
            path: {
                /** @description The project. */
                project_id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "title": "Choose the tiles",
                 *       "description": "Slate or terracotta?",
                 *       "status": "todo",
                 *       "priority": 2,
                 *       "due_at": "2026-12-24T18:00:00+01:00",
                 *       "assignee_id": "me",
                 *       "labels": [
                 *         "shopping"
                 *       ],
                 *       "blocked_by": []
                 *     }
                 */
                "application/json": components["schemas"]["TaskWrite"];
            };
        };
        responses: {
            /** @description Created. */
            201: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    ETag: components["headers"]["ETag"];
                    Location: components["headers"]["Location"];
                    "Idempotency-Replayed": components["headers"]["Idempotency-Replayed"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "project_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "title": "Choose the tiles",
                     *       "description": "Slate or terracotta?",
                     *       "status": "todo",
                     *       "priority": 2,
                     *       "due_at": "2026-11-23T03:14:07.123Z",
                     *       "due_on": null,
                     *       "assignee_id": null,
                     *       "labels": [
                     *         "shopping"
                     *       ],
                     *       "parent_id": null,
                     *       "blocked_by": [],
                     *       "completed_at": null,
                     *       "created_at": "2026-11-23T03:14:07.123Z",
                     *       "updated_at": "2026-11-23T03:14:07.123Z",
                     *       "created_by": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "version": 1,
                     *       "comment_count": 0,
                     *       "subtask_counts": {
                     *         "open": 2,
                     *         "done": 1
                     *       },
                     *       "is_blocked": false
                     *     }
                     */
                    "application/json": components["schemas"]["Task"];
                };
            };
            400: components["responses"]["MalformedJsonOrMalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["IdTakenOrConflictOrIdempotencyInFlight"];
            413: components["responses"]["PayloadTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailedOrIdempotencyKeyReused"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    countTasks: {
        parameters: {
            query?: {
                /**
                 * @description Lists only these of your projects, up to 50. One that you do not see is `not_found`.
                 * @example [
                 *       "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23"
                 *     ]
                 */
                project_id?: string[];
                /**
                 * @description Whether tasks of archived projects are listed: `false` leaves them out, `true` lists no others.
                 * @example any
                 */
                archived?: "false" | "true" | "any";
                /**
                 * @description Matches tasks with any of these statuses.
                 * @example [
                 *       "todo",
                 *       "in_progress"
                 *     ]
                 */
                status?: components["schemas"]["TaskStatus"][];
                /**
                 * @description Leaves out tasks with these statuses.
                 * @example [
                 *       "done",
                 *       "cancelled"
                 *     ]
                 */
                status_not?: components["schemas"]["TaskStatus"][];
                /**
                 * @description Matches tasks with any of these labels, up to 20, exactly as written. An empty item matches tasks without labels: `label=`, or `label=shopping,`.
                 * @example [
                 *       "shopping",
                 *       "urgent"
                 *     ]
                 */
                label?: string[];
                /**
                 * @description Matches tasks with all of these labels.
                 * @example [
                 *       "shopping",
                 *       "urgent"
                 *     ]
                 */
                label_all?: string[];
                /**
                 * @description Leaves out tasks with these labels. An empty item leaves out tasks without labels.
                 * @example [
                 *       "waiting"
                 *     ]
                 */
                label_not?: string[];
                /**
                 * @description Exactly this priority.
                 * @example 4
                 */
                priority?: number;
                /**
                 * @description This priority or above.
                 * @example 3
                 */
                priority_min?: number;
                /**
                 * @description This priority or below.
                 * @example 2
                 */
                priority_max?: number;
                /**
                 * @description `me`, `none` (unassigned), or the id of a user.
                 * @example me
                 */
                assignee_id?: string;
                /**
                 * @description `me`, or the id of a user.
                 * @example me
                 */
                created_by?: string;
                /**
                 * @description `none` (no subtasks), or the id of a task: its subtasks.
                 * @example none
                 */
                parent_id?: string;
                /**
                 * @description Whether a task of `blocked_by` is open.
                 * @example false
                 */
                blocked?: "true" | "false";
                /**
                 * @description Tasks without a due date, or with any.
                 * @example none
                 */
                due?: "none" | "any";
                /**
                 * @description Due at this time or later. Windows from `due_from` to `due_before` tile. A task with `due_on` counts as due at the end of that day. A date means the beginning of that day in UTC.
                 * @example 2026-12-24
                 */
                due_from?: string;
                /**
                 * @description Due after this time. A date means the end of that day in UTC.
                 * @example 2026-12-24T18:00:00+01:00
                 */
                due_after?: string;
                /**
                 * @description Due before this time, which is after `due_from` and `due_after`. A date means the beginning of that day in UTC.
                 * @example 2026-12-31
                 */
                due_before?: string;
                /**
                 * @description Done at this time or later. A date means the beginning of that day in UTC.
                 * @example 2026-12-24
                 */
                completed_from?: string;
                /**
                 * @description Done before this time. A date means the beginning of that day in UTC.
                 * @example 2026-12-31T18:00:00+01:00
                 */
                completed_before?: string;
                /**
                 * @description Last changed at this time or later. A date means the beginning of that day in UTC.
                 * @example 2026-12-24T18:00:00+01:00
                 */
                updated_from?: string;
                /**
                 * @description Last changed before this time. A date means the beginning of that day in UTC.
                 * @example 2026-12-31T18:00:00+01:00
                 */
                updated_before?: string;
                /**
                 * @description Created at this time or later. A date means the beginning of that day in UTC.
                 * @example 2026-12-24T18:00:00+01:00
                 */
                created_from?: string;
                /**
                 * @description Created before this time. A date means the beginning of that day in UTC.
                 * @example 2026-12-31T18:00:00+01:00
                 */
                created_before?: string;
                /**
                 * @description Finds items where the title or the description contains every word; the last word matches as a prefix. Case and accents are ignored. In scripts without spaces between words, the text matches anywhere. It must contain a letter, a digit or a symbol; punctuation is ignored.
                 * @example tiles kit
                 */
                q?: string;
                /**
                 * @description Where `q` looks, by default in `title,description`. All words have to occur in the title and the description together, or, with `comments`, in one comment.
                 * @example [
                 *       "title",
                 *       "description",
                 *       "comments"
                 *     ]
                 */
                in?: components["schemas"]["SearchedText"][];
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "count": 42,
                     *       "more": false
                     *     }
                     */
                    "application/json": components["schemas"]["TaskCount"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    listAllTasks: {
        parameters: {
            query?: {
                /**
                 * @description The maximum number of items in a page.
                 * @example 20
                 */
                limit?: number;
                /** @description The `next_cursor` of the previous page. Opaque, and valid only for the same list with the same filters and sort. */
                cursor?: string;
                /**
                 * @description The sort order; a leading `-` means descending. Nulls come last in both.
                 * @example -created_at
                 */
                sort?: "created_at" | "-created_at" | "updated_at" | "-updated_at" | "due_at" | "-due_at" | "completed_at" | "-completed_at" | "priority" | "-priority" | "title" | "-title";
                /**
                 * @description `people` adds the assignee and the creator of each task, with their names; `progress` adds `subtask_counts` and `is_blocked`.
                 * @example [
                 *       "people"
                 *     ]
                 */
                expand?: ("people" | "progress")[];
                /**
                 * @description Lists only these of your projects, up to 50. One that you do not see is `not_found`.
                 * @example [
                 *       "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23"
                 *     ]
                 */
                project_id?: string[];
                /**
                 * @description Whether tasks of archived projects are listed: `false` leaves them out, `true` lists no others.
                 * @example any
                 */
                archived?: "false" | "true" | "any";
                /**
                 * @description Matches tasks with any of these statuses.
                 * @example [
                 *       "todo",
                 *       "in_progress"
                 *     ]
                 */
                status?: components["schemas"]["TaskStatus"][];
                /**
                 * @description Leaves out tasks with these statuses.
                 * @example [
                 *       "done",
                 *       "cancelled"
                 *     ]
                 */
                status_not?: components["schemas"]["TaskStatus"][];
                /**
                 * @description Matches tasks with any of these labels, up to 20, exactly as written. An empty item matches tasks without labels: `label=`, or `label=shopping,`.
                 * @example [
                 *       "shopping",
                 *       "urgent"
                 *     ]
                 */
                label?: string[];
                /**
                 * @description Matches tasks with all of these labels.
                 * @example [
                 *       "shopping",
                 *       "urgent"
                 *     ]
                 */
                label_all?: string[];
                /**
                 * @description Leaves out tasks with these labels. An empty item leaves out tasks without labels.
                 * @example [
                 *       "waiting"
                 *     ]
                 */
                label_not?: string[];
                /**
                 * @description Exactly this priority.
                 * @example 4
                 */
                priority?: number;
                /**
                 * @description This priority or above.
                 * @example 3
                 */
                priority_min?: number;
                /**
                 * @description This priority or below.
                 * @example 2
                 */
                priority_max?: number;
                /**
                 * @description `me`, `none` (unassigned), or the id of a user.
                 * @example me
                 */
                assignee_id?: string;
                /**
                 * @description `me`, or the id of a user.
                 * @example me
                 */
                created_by?: string;
                /**
                 * @description `none` (no subtasks), or the id of a task: its subtasks.
                 * @example none
                 */
                parent_id?: string;
                /**
                 * @description Whether a task of `blocked_by` is open.
                 * @example false
                 */
                blocked?: "true" | "false";
                /**
                 * @description Tasks without a due date, or with any.
                 * @example none
                 */
                due?: "none" | "any";
                /**
                 * @description Due at this time or later. Windows from `due_from` to `due_before` tile. A task with `due_on` counts as due at the end of that day. A date means the beginning of that day in UTC.
                 * @example 2026-12-24
                 */
                due_from?: string;
                /**
                 * @description Due after this time. A date means the end of that day in UTC.
                 * @example 2026-12-24T18:00:00+01:00
                 */
                due_after?: string;
                /**
                 * @description Due before this time, which is after `due_from` and `due_after`. A date means the beginning of that day in UTC.
                 * @example 2026-12-31
                 */
                due_before?: string;
                /**
                 * @description Done at this time or later. A date means the beginning of that day in UTC.
                 * @example 2026-12-24
                 */
                completed_from?: string;
                /**
                 * @description Done before this time. A date means the beginning of that day in UTC.
                 * @example 2026-12-31T18:00:00+01:00
                 */
                completed_before?: string;
                /**
                 * @description Last changed at this time or later. A date means the beginning of that day in UTC.
                 * @example 2026-12-24T18:00:00+01:00
                 */
                updated_from?: string;
                /**
                 * @description Last changed before this time. A date means the beginning of that day in UTC.
                 * @example 2026-12-31T18:00:00+01:00
                 */
                updated_before?: string;
                /**
                 * @description Created at this time or later. A date means the beginning of that day in UTC.
                 * @example 2026-12-24T18:00:00+01:00
                 */
                created_from?: string;
                /**
                 * @description Created before this time. A date means the beginning of that day in UTC.
                 * @example 2026-12-31T18:00:00+01:00
                 */
                created_before?: string;
                /**
                 * @description Finds items where the title or the description contains every word; the last word matches as a prefix. Case and accents are ignored. In scripts without spaces between words, the text matches anywhere. It must contain a letter, a digit or a symbol; punctuation is ignored.
                 * @example tiles kit
                 */
                q?: string;
                /**
                 * @description Where `q` looks, by default in `title,description`. All words have to occur in the title and the description together, or, with `comments`, in one comment.
                 * @example [
                 *       "title",
                 *       "description",
                 *       "comments"
                 *     ]
                 */
                in?: components["schemas"]["SearchedText"][];
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "items": [
                     *         {
                     *           "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "project_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "title": "Choose the tiles",
                     *           "description": "Slate or terracotta?",
                     *           "status": "todo",
                     *           "priority": 2,
                     *           "due_at": "2026-11-23T03:14:07.123Z",
                     *           "due_on": null,
                     *           "assignee_id": null,
                     *           "labels": [
                     *             "shopping"
                     *           ],
                     *           "parent_id": null,
                     *           "blocked_by": [],
                     *           "completed_at": null,
                     *           "created_at": "2026-11-23T03:14:07.123Z",
                     *           "updated_at": "2026-11-23T03:14:07.123Z",
                     *           "created_by": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "version": 1,
                     *           "comment_count": 0,
                     *           "subtask_counts": {
                     *             "open": 2,
                     *             "done": 1
                     *           },
                     *           "is_blocked": false
                     *         }
                     *       ],
                     *       "next_cursor": "WyJwcm9qZWN0cyJd"
                     *     }
                     */
                    "application/json": components["schemas"]["TaskPage"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["ValidationFailedOrInvalidCursor"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    batchTasks: {
        parameters: {
            query?: never;
            header?: {
                /** @description For 24 hours, a repeated request with the same key returns the stored response and does not run again. 1 to 255 visible ASCII characters. */
                "Idempotency-Key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "operations": [
                 *         {
                 *           "op": "create",
                 *           "project_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                 *           "title": "Choose the tiles",
                 *           "description": "Slate or terracotta?",
                 *           "status": "todo",
                 *           "priority": 2,
                 *           "due_at": "2026-12-24T18:00:00+01:00",
                 *           "assignee_id": "me",
                 *           "labels": [
                 *             "shopping"
                 *           ],
                 *           "blocked_by": []
                 *         }
                 *       ]
                 *     }
                 */
                "application/json": components["schemas"]["TaskBatch"];
            };
        };
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    "Idempotency-Replayed": components["headers"]["Idempotency-Replayed"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "results": [
                     *         {
                     *           "op": "create",
                     *           "task": {
                     *             "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *             "project_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *             "title": "Choose the tiles",
                     *             "description": "Slate or terracotta?",
                     *             "status": "todo",
                     *             "priority": 2,
                     *             "due_at": "2026-11-23T03:14:07.123Z",
                     *             "due_on": null,
                     *             "assignee_id": null,
                     *             "labels": [
                     *               "shopping"
                     *             ],
                     *             "parent_id": null,
                     *             "blocked_by": [],
                     *             "completed_at": null,
                     *             "created_at": "2026-11-23T03:14:07.123Z",
                     *             "updated_at": "2026-11-23T03:14:07.123Z",
                     *             "created_by": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *             "version": 1,
                     *             "comment_count": 0,
                     *             "subtask_counts": {
                     *               "open": 2,
                     *               "done": 1
                     *             },
                     *             "is_blocked": false
                     *           }
                     *         }
                     *       ]
                     *     }
                     */
                    "application/json": components["schemas"]["TaskBatchResults"];
                };
            };
            400: components["responses"]["MalformedJsonOrMalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["IdTakenOrConflictOrIdempotencyInFlight"];
            412: components["responses"]["PreconditionFailed"];
            413: components["responses"]["PayloadTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailedOrIdempotencyKeyReused"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    readTask: {
        parameters: {
            query?: {
                /**
                 * @description `people` adds the assignee and the creator of each task, with their names; `progress` adds `subtask_counts` and `is_blocked`.
                 * @example [
                 *       "people"
                 *     ]
                 */
                expand?: ("people" | "progress")[];
            };
            header?: {
                /**
                 * @description Return 304 without a body if this is the current version: the `ETag` of an earlier response.
                 * @example "3"
                 */
                "If-None-Match"?: string;
            };
            path: {
                /** @description The task. */
                task_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    ETag: components["headers"]["ETag"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "project_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "title": "Choose the tiles",
                     *       "description": "Slate or terracotta?",
                     *       "status": "todo",
                     *       "priority": 2,
                     *       "due_at": "2026-11-23T03:14:07.123Z",
                     *       "due_on": null,
                     *       "assignee_id": null,
                     *       "labels": [
                     *         "shopping"
                     *       ],
                     *       "parent_id": null,
                     *       "blocked_by": [],
                     *       "completed_at": null,
                     *       "created_at": "2026-11-23T03:14:07.123Z",
                     *       "updated_at": "2026-11-23T03:14:07.123Z",
                     *       "created_by": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "version": 1,
                     *       "comment_count": 0,
                     *       "subtask_counts": {
                     *         "open": 2,
                     *         "done": 1
                     *       },
                     *       "is_blocked": false
                     *     }
                     */
                    "application/json": components["schemas"]["Task"];
                };
            };
            /** @description Not modified: `If-None-Match` names the current version. */
            304: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    ETag: components["headers"]["ETag"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    replaceTask: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Write only if this is the current version: the `ETag` of an earlier response.
                 * @example "3"
                 */
                "If-Match"?: string;
            };
            path: {
                /** @description The task. */
                task_id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "title": "Choose the tiles",
                 *       "description": "Slate or terracotta?",
                 *       "status": "todo",
                 *       "priority": 2,
                 *       "due_at": "2026-12-24T18:00:00+01:00",
                 *       "assignee_id": "me",
                 *       "labels": [
                 *         "shopping"
                 *       ],
                 *       "blocked_by": []
                 *     }
                 */
                "application/json": components["schemas"]["TaskReplace"];
            };
        };
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    ETag: components["headers"]["ETag"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "project_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "title": "Choose the tiles",
                     *       "description": "Slate or terracotta?",
                     *       "status": "todo",
                     *       "priority": 2,
                     *       "due_at": "2026-11-23T03:14:07.123Z",
                     *       "due_on": null,
                     *       "assignee_id": null,
                     *       "labels": [
                     *         "shopping"
                     *       ],
                     *       "parent_id": null,
                     *       "blocked_by": [],
                     *       "completed_at": null,
                     *       "created_at": "2026-11-23T03:14:07.123Z",
                     *       "updated_at": "2026-11-23T03:14:07.123Z",
                     *       "created_by": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "version": 1,
                     *       "comment_count": 0,
                     *       "subtask_counts": {
                     *         "open": 2,
                     *         "done": 1
                     *       },
                     *       "is_blocked": false
                     *     }
                     */
                    "application/json": components["schemas"]["Task"];
                };
            };
            400: components["responses"]["MalformedJsonOrMalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            412: components["responses"]["PreconditionFailed"];
            413: components["responses"]["PayloadTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    deleteTask: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Write only if this is the current version: the `ETag` of an earlier response.
                 * @example "3"
                 */
                "If-Match"?: string;
            };
            path: {
                /** @description The task. */
                task_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. The response has no body. */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            412: components["responses"]["PreconditionFailed"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    patchTask: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Write only if this is the current version: the `ETag` of an earlier response.
                 * @example "3"
                 */
                "If-Match"?: string;
            };
            path: {
                /** @description The task. */
                task_id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "title": "Choose the tiles",
                 *       "description": "Slate or terracotta?",
                 *       "status": "todo",
                 *       "priority": 2,
                 *       "due_at": "2026-12-24T18:00:00+01:00",
                 *       "assignee_id": "me",
                 *       "labels": [
                 *         "shopping"
                 *       ],
                 *       "blocked_by": []
                 *     }
                 */
                "application/json": components["schemas"]["TaskPatch"];
                /**
                 * @example {
                 *       "title": "Choose the tiles",
                 *       "description": "Slate or terracotta?",
                 *       "status": "todo",
                 *       "priority": 2,
                 *       "due_at": "2026-12-24T18:00:00+01:00",
                 *       "assignee_id": "me",
                 *       "labels": [
                 *         "shopping"
                 *       ],
                 *       "blocked_by": []
                 *     }
                 */
                "application/merge-patch+json": components["schemas"]["TaskPatch"];
            };
        };
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    ETag: components["headers"]["ETag"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "project_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "title": "Choose the tiles",
                     *       "description": "Slate or terracotta?",
                     *       "status": "todo",
                     *       "priority": 2,
                     *       "due_at": "2026-11-23T03:14:07.123Z",
                     *       "due_on": null,
                     *       "assignee_id": null,
                     *       "labels": [
                     *         "shopping"
                     *       ],
                     *       "parent_id": null,
                     *       "blocked_by": [],
                     *       "completed_at": null,
                     *       "created_at": "2026-11-23T03:14:07.123Z",
                     *       "updated_at": "2026-11-23T03:14:07.123Z",
                     *       "created_by": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "version": 1,
                     *       "comment_count": 0,
                     *       "subtask_counts": {
                     *         "open": 2,
                     *         "done": 1
                     *       },
                     *       "is_blocked": false
                     *     }
                     */
                    "application/json": components["schemas"]["Task"];
                };
            };
            400: components["responses"]["MalformedJsonOrMalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            412: components["responses"]["PreconditionFailed"];
            413: components["responses"]["PayloadTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    listSubtasks: {
        parameters: {
            query?: {
                /**
                 * @description The maximum number of items in a page.
                 * @example 20
                 */
                limit?: number;
                /** @description The `next_cursor` of the previous page. Opaque, and valid only for the same list with the same filters and sort. */
                cursor?: string;
                /**
                 * @description The sort order; a leading `-` means descending. Nulls come last in both.
                 * @example -created_at
                 */
                sort?: "created_at" | "-created_at" | "updated_at" | "-updated_at" | "due_at" | "-due_at" | "completed_at" | "-completed_at" | "priority" | "-priority" | "title" | "-title" | "position" | "-position";
                /**
                 * @description `people` adds the assignee and the creator of each task, with their names; `progress` adds `subtask_counts` and `is_blocked`.
                 * @example [
                 *       "people"
                 *     ]
                 */
                expand?: ("people" | "progress")[];
            };
            header?: never;
            path: {
                /** @description The task. */
                task_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "items": [
                     *         {
                     *           "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "project_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "title": "Choose the tiles",
                     *           "description": "Slate or terracotta?",
                     *           "status": "todo",
                     *           "priority": 2,
                     *           "due_at": "2026-11-23T03:14:07.123Z",
                     *           "due_on": null,
                     *           "assignee_id": null,
                     *           "labels": [
                     *             "shopping"
                     *           ],
                     *           "parent_id": null,
                     *           "blocked_by": [],
                     *           "completed_at": null,
                     *           "created_at": "2026-11-23T03:14:07.123Z",
                     *           "updated_at": "2026-11-23T03:14:07.123Z",
                     *           "created_by": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "version": 1,
                     *           "comment_count": 0,
                     *           "subtask_counts": {
                     *             "open": 2,
                     *             "done": 1
                     *           },
                     *           "is_blocked": false
                     *         }
                     *       ],
                     *       "next_cursor": "WyJwcm9qZWN0cyJd"
                     *     }
                     */
                    "application/json": components["schemas"]["TaskPage"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["ValidationFailedOrInvalidCursor"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    listTrash: {
        parameters: {
            query?: {
                /**
                 * @description The maximum number of items in a page.
                 * @example 20
                 */
                limit?: number;
                /** @description The `next_cursor` of the previous page. Opaque, and valid only for the same list with the same filters and sort. */
                cursor?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "items": [
                     *         {
                     *           "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "type": "task",
                     *           "name": "Buy flour",
                     *           "project_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "project_name": "Kitchen",
                     *           "deleted_at": "2026-11-23T03:14:07.123Z",
                     *           "deleted_by": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "purge_at": "2026-11-23T03:14:07.123Z"
                     *         }
                     *       ],
                     *       "next_cursor": "WyJwcm9qZWN0cyJd"
                     *     }
                     */
                    "application/json": components["schemas"]["TrashPage"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            422: components["responses"]["ValidationFailedOrInvalidCursor"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    emptyTrash: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. The response has no body. */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["InsufficientScope"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    restoreFromTrash: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description The task or the project in the trash. */
                trash_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "type": "task",
                     *       "task": {
                     *         "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *         "project_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *         "title": "Choose the tiles",
                     *         "description": "Slate or terracotta?",
                     *         "status": "todo",
                     *         "priority": 2,
                     *         "due_at": "2026-11-23T03:14:07.123Z",
                     *         "due_on": null,
                     *         "assignee_id": null,
                     *         "labels": [
                     *           "shopping"
                     *         ],
                     *         "parent_id": null,
                     *         "blocked_by": [],
                     *         "completed_at": null,
                     *         "created_at": "2026-11-23T03:14:07.123Z",
                     *         "updated_at": "2026-11-23T03:14:07.123Z",
                     *         "created_by": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *         "version": 1,
                     *         "comment_count": 0,
                     *         "subtask_counts": {
                     *           "open": 2,
                     *           "done": 1
                     *         },
                     *         "is_blocked": false
                     *       },
                     *       "project": {
                     *         "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *         "name": "Kitchen",
                     *         "description": "New tiles, new light",
                     *         "archived_at": null,
                     *         "viewers_may_comment": false,
                     *         "created_at": "2026-11-23T03:14:07.123Z",
                     *         "updated_at": "2026-11-23T03:14:07.123Z",
                     *         "version": 1,
                     *         "role": "owner"
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["Restored"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    deleteFromTrash: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description The task or the project in the trash. */
                trash_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. The response has no body. */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    listComments: {
        parameters: {
            query?: {
                /**
                 * @description The maximum number of items in a page.
                 * @example 20
                 */
                limit?: number;
                /** @description The `next_cursor` of the previous page. Opaque, and valid only for the same list with the same filters and sort. */
                cursor?: string;
                /**
                 * @description The sort order; a leading `-` means descending. Nulls come last in both.
                 * @example -created_at
                 */
                sort?: "created_at" | "-created_at";
            };
            header?: never;
            path: {
                /** @description The task. */
                task_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "items": [
                     *         {
                     *           "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "task_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "author_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "body": "Slate, please: it hides **everything**.",
                     *           "created_at": "2026-11-23T03:14:07.123Z",
                     *           "edited_at": null,
                     *           "version": 1
                     *         }
                     *       ],
                     *       "next_cursor": "WyJwcm9qZWN0cyJd"
                     *     }
                     */
                    "application/json": components["schemas"]["CommentPage"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["ValidationFailedOrInvalidCursor"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    createComment: {
        parameters: {
            query?: never;
            header?: {
                /** @description For 24 hours, a repeated request with the same key returns the stored response and does not run again. 1 to 255 visible ASCII characters. */
                "Idempotency-Key"?: string;
            };
            path: {
                /** @description The task. */
                task_id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "body": "Slate, please: it hides **everything**."
                 *     }
                 */
                "application/json": components["schemas"]["CommentCreate"];
            };
        };
        responses: {
            /** @description Created. */
            201: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    ETag: components["headers"]["ETag"];
                    Location: components["headers"]["Location"];
                    "Idempotency-Replayed": components["headers"]["Idempotency-Replayed"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "task_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "author_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "body": "Slate, please: it hides **everything**.",
                     *       "created_at": "2026-11-23T03:14:07.123Z",
                     *       "edited_at": null,
                     *       "version": 1
                     *     }
                     */
                    "application/json": components["schemas"]["Comment"];
                };
            };
            400: components["responses"]["MalformedJsonOrMalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["IdTakenOrConflictOrIdempotencyInFlight"];
            413: components["responses"]["PayloadTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailedOrIdempotencyKeyReused"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    readComment: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Return 304 without a body if this is the current version: the `ETag` of an earlier response.
                 * @example "3"
                 */
                "If-None-Match"?: string;
            };
            path: {
                /** @description The comment. */
                comment_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    ETag: components["headers"]["ETag"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "task_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "author_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "body": "Slate, please: it hides **everything**.",
                     *       "created_at": "2026-11-23T03:14:07.123Z",
                     *       "edited_at": null,
                     *       "version": 1
                     *     }
                     */
                    "application/json": components["schemas"]["Comment"];
                };
            };
            /** @description Not modified: `If-None-Match` names the current version. */
            304: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    ETag: components["headers"]["ETag"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    deleteComment: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Write only if this is the current version: the `ETag` of an earlier response.
                 * @example "3"
                 */
                "If-Match"?: string;
            };
            path: {
                /** @description The comment. */
                comment_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. The response has no body. */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            412: components["responses"]["PreconditionFailed"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    patchComment: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Write only if this is the current version: the `ETag` of an earlier response.
                 * @example "3"
                 */
                "If-Match"?: string;
            };
            path: {
                /** @description The comment. */
                comment_id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "body": "Slate, please: it hides **everything**."
                 *     }
                 */
                "application/json": components["schemas"]["CommentPatch"];
                /**
                 * @example {
                 *       "body": "Slate, please: it hides **everything**."
                 *     }
                 */
                "application/merge-patch+json": components["schemas"]["CommentPatch"];
            };
        };
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    ETag: components["headers"]["ETag"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "task_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "author_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "body": "Slate, please: it hides **everything**.",
                     *       "created_at": "2026-11-23T03:14:07.123Z",
                     *       "edited_at": null,
                     *       "version": 1
                     *     }
                     */
                    "application/json": components["schemas"]["Comment"];
                };
            };
            400: components["responses"]["MalformedJsonOrMalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            412: components["responses"]["PreconditionFailed"];
            413: components["responses"]["PayloadTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    listLabels: {
        parameters: {
            query?: {
                /**
                 * @description The maximum number of items in a page.
                 * @example 20
                 */
                limit?: number;
                /** @description The `next_cursor` of the previous page. Opaque, and valid only for the same list with the same filters and sort. */
                cursor?: string;
                /**
                 * @description Lists only these of your projects, up to 50. One that you do not see is `not_found`.
                 * @example [
                 *       "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23"
                 *     ]
                 */
                project_id?: string[];
                /**
                 * @description Whether tasks of archived projects are listed: `false` leaves them out, `true` lists no others.
                 * @example any
                 */
                archived?: "false" | "true" | "any";
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "items": [
                     *         {
                     *           "name": "shopping",
                     *           "count": 3
                     *         }
                     *       ],
                     *       "next_cursor": "WyJwcm9qZWN0cyJd",
                     *       "more": false
                     *     }
                     */
                    "application/json": components["schemas"]["LabelPage"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            404: components["responses"]["NotFound"];
            422: components["responses"]["ValidationFailedOrInvalidCursor"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    removeLabel: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description The project. */
                project_id: string;
                /**
                 * @description The label, percent-encoded: `50%25` for `50%`, `a%2Fb` for `a/b`.
                 * @example shopping
                 */
                label: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "changed": 3,
                     *       "more": false
                     *     }
                     */
                    "application/json": components["schemas"]["LabelChange"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    renameLabel: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description The project. */
                project_id: string;
                /**
                 * @description The label, percent-encoded: `50%25` for `50%`, `a%2Fb` for `a/b`.
                 * @example shopping
                 */
                label: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "name": "shopping"
                 *     }
                 */
                "application/json": components["schemas"]["LabelRename"];
                /**
                 * @example {
                 *       "name": "shopping"
                 *     }
                 */
                "application/merge-patch+json": components["schemas"]["LabelRename"];
            };
        };
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "changed": 3,
                     *       "more": false
                     *     }
                     */
                    "application/json": components["schemas"]["LabelChange"];
                };
            };
            400: components["responses"]["MalformedJsonOrMalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["ForbiddenOrInsufficientScope"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["PayloadTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    listEvents: {
        parameters: {
            query?: {
                /**
                 * @description The maximum number of items in a page.
                 * @example 20
                 */
                limit?: number;
                /** @description The `next_cursor` of the previous page. Opaque, and valid only for the same list with the same filters and sort. */
                cursor?: string;
            };
            header?: never;
            path: {
                /** @description The project. */
                project_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "items": [
                     *         {
                     *           "cursor": "WyJhIiwiYiIsMTJd",
                     *           "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "at": "2026-11-23T03:14:07.123Z",
                     *           "actor_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "actor_token": "planner",
                     *           "action": "task.updated",
                     *           "project_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "subject": "task",
                     *           "subject_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "version": 2,
                     *           "fields": {
                     *             "status": "done"
                     *           }
                     *         }
                     *       ],
                     *       "next_cursor": "WyJwcm9qZWN0cyJd"
                     *     }
                     */
                    "application/json": components["schemas"]["EventPage"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            404: components["responses"]["NotFound"];
            410: components["responses"]["CursorExpired"];
            422: components["responses"]["ValidationFailedOrInvalidCursor"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    listChanges: {
        parameters: {
            query?: {
                /** @description The `cursor` of an event or the `next_cursor` of a page. If omitted, no item is listed and `next_cursor` is the current position. */
                since?: string;
                /**
                 * @description The maximum number of items in a page.
                 * @example 20
                 */
                limit?: number;
                /**
                 * @description Lists only the changes of these projects, up to 50, and your access to them. They may be projects that you do not see yet, or no longer. The cursors are valid for the same projects only; a cursor of all projects is accepted, too.
                 * @example [
                 *       "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23"
                 *     ]
                 */
                project_id?: string[];
                /**
                 * @description Where there is no change after `since`, wait up to this many seconds for one. A user may have 20 waiting requests and streams.
                 * @example 30
                 */
                wait?: number;
                /**
                 * @description `true` begins a snapshot: the page has `snapshot` with everything that you see, or that is in `project_id`, and no items. Continue with its `next_cursor` as `since`: first come the other pages of the snapshot, then the changes. With `since`, the changes go on from there.
                 * @example true
                 */
                snapshot?: "true" | "false";
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "items": [
                     *         {
                     *           "cursor": "WyJhIiwiYiIsMTJd",
                     *           "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "at": "2026-11-23T03:14:07.123Z",
                     *           "actor_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "actor_token": "planner",
                     *           "action": "task.updated",
                     *           "project_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "subject": "task",
                     *           "subject_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *           "version": 2,
                     *           "fields": {
                     *             "status": "done"
                     *           }
                     *         }
                     *       ],
                     *       "snapshot": {
                     *         "projects": [
                     *           {
                     *             "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *             "name": "Kitchen",
                     *             "description": "New tiles, new light",
                     *             "archived_at": null,
                     *             "viewers_may_comment": false,
                     *             "created_at": "2026-11-23T03:14:07.123Z",
                     *             "updated_at": "2026-11-23T03:14:07.123Z",
                     *             "version": 1,
                     *             "role": "owner"
                     *           }
                     *         ],
                     *         "members": [
                     *           {
                     *             "project_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *             "user_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *             "username": "bob",
                     *             "role": "editor",
                     *             "created_at": "2026-11-23T03:14:07.123Z"
                     *           }
                     *         ],
                     *         "tasks": [
                     *           {
                     *             "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *             "project_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *             "title": "Choose the tiles",
                     *             "description": "Slate or terracotta?",
                     *             "status": "todo",
                     *             "priority": 2,
                     *             "due_at": "2026-11-23T03:14:07.123Z",
                     *             "due_on": null,
                     *             "assignee_id": null,
                     *             "labels": [
                     *               "shopping"
                     *             ],
                     *             "parent_id": null,
                     *             "blocked_by": [],
                     *             "completed_at": null,
                     *             "created_at": "2026-11-23T03:14:07.123Z",
                     *             "updated_at": "2026-11-23T03:14:07.123Z",
                     *             "created_by": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *             "version": 1,
                     *             "comment_count": 0,
                     *             "subtask_counts": {
                     *               "open": 2,
                     *               "done": 1
                     *             },
                     *             "is_blocked": false
                     *           }
                     *         ],
                     *         "comments": [
                     *           {
                     *             "project_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *             "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *             "task_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *             "author_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *             "body": "Slate, please: it hides **everything**.",
                     *             "created_at": "2026-11-23T03:14:07.123Z",
                     *             "edited_at": null,
                     *             "version": 1
                     *           }
                     *         ],
                     *         "complete": true
                     *       },
                     *       "next_cursor": "WyJhIiwiYiIsMTJd"
                     *     }
                     */
                    "application/json": components["schemas"]["ChangePage"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            410: components["responses"]["CursorExpired"];
            422: components["responses"]["ValidationFailedOrInvalidCursor"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    streamChanges: {
        parameters: {
            query?: {
                /** @description The `cursor` of an event or the `next_cursor` of a page. If omitted, no item is listed and `next_cursor` is the current position. */
                since?: string;
            };
            header?: {
                /** @description The `id` of the last event that the client received. Takes precedence over `since`. */
                "Last-Event-ID"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "cursor": "WyJhIiwiYiIsMTJd",
                     *       "id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "at": "2026-11-23T03:14:07.123Z",
                     *       "actor_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "actor_token": "planner",
                     *       "action": "task.updated",
                     *       "project_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "subject": "task",
                     *       "subject_id": "019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23",
                     *       "version": 2,
                     *       "fields": {
                     *         "status": "done"
                     *       }
                     *     }
                     */
                    "text/event-stream": components["schemas"]["Event"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            410: components["responses"]["CursorExpired"];
            422: components["responses"]["ValidationFailedOrInvalidCursor"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    callMcp: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "jsonrpc": "2.0",
                 *       "id": 1,
                 *       "method": "tools/list",
                 *       "params": {}
                 *     }
                 */
                "application/json": components["schemas"]["McpMessage"];
            };
        };
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "jsonrpc": "2.0",
                     *       "id": 1,
                     *       "result": {
                     *         "tools": []
                     *       },
                     *       "error": {
                     *         "code": -32601,
                     *         "message": "Method not found",
                     *         "data": {}
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["McpResponse"];
                };
            };
            /** @description Accepted. The response has no body. */
            202: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description The protocol refuses the message. `malformed_json`: Malformed JSON. `malformed_request`: Malformed request. */
            400: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "jsonrpc": "2.0",
                     *       "id": 1,
                     *       "error": {
                     *         "code": -32601,
                     *         "message": "Method not found",
                     *         "data": {}
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["McpError"];
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            401: components["responses"]["UnauthenticatedOrInvalidTokenOrTokenExpired"];
            403: components["responses"]["Forbidden"];
            /** @description The protocol does not know the method. */
            404: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "jsonrpc": "2.0",
                     *       "id": 1,
                     *       "error": {
                     *         "code": -32601,
                     *         "message": "Method not found",
                     *         "data": {}
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["McpError"];
                };
            };
            413: components["responses"]["PayloadTooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            500: components["responses"]["Internal"];
            503: components["responses"]["DatabaseUnavailableOrOverloaded"];
        };
    };
    readMetrics: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Success. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    RateLimit: components["headers"]["RateLimit"];
                    "RateLimit-Policy": components["headers"]["RateLimit-Policy"];
                    [name: string]: unknown;
                };
                content: {
                    /** @example http_request_duration_seconds_count{method="GET",route="/tasks/{task_id}",status="200"} 1 */
                    "text/plain": components["schemas"]["Metrics"];
                };
            };
            400: components["responses"]["MalformedRequest"];
            422: components["responses"]["ValidationFailed"];
            429: components["responses"]["RateLimited"];
            501: components["responses"]["NotImplemented"];
        };
    };
}
