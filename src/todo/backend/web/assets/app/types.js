/**
 * The shapes of the API, as the pages use them (http://127.0.0.1:8000/docs has them all).
 *
 * @typedef {{series_id: string, seq: number, rule: string, mode: string, policy: string, ended: boolean}} Recurrence
 * @typedef {{attempt: number, outcome: string, at: string, reason: string, possibly_sent: boolean,
 *   recipient: string | null, message_id: string | null}} Attempt
 * @typedef {{reminder: string, fire_at: string, state: string, attempts: Attempt[]}} ReminderFiring
 * @typedef {object} Task
 * @property {string} id
 * @property {number} user_id
 * @property {number} version
 * @property {string} title
 * @property {string} notes
 * @property {"open" | "done" | "skipped"} status
 * @property {string | null} due_at an instant
 * @property {string | null} due_date YYYY-MM-DD
 * @property {string | null} start_at
 * @property {string | null} start_date
 * @property {string | null} zone
 * @property {number} priority 1 to 4; 4 is none
 * @property {string[]} labels
 * @property {string[]} reminders
 * @property {Recurrence | null} recurrence
 * @property {string | null} list_id
 * @property {string | null} parent_id
 * @property {string} position
 * @property {string} created_at
 * @property {string} updated_at
 * @property {string | null} closed_at
 * @property {string | null} deleted_at
 * @property {ReminderFiring[]} [reminder_history] of one task read by itself
 *
 * @typedef {{id: string, name: string, color: string, position: string, version: number}} List
 * @typedef {{id: string, name: string, filter: string, sort: string, position: string, version: number}} View
 * @typedef {{id: number, email: string, name: string, zone: string, scopes: string[]}} User
 *
 * @typedef {{field: string, problem: string, fix: string}} Fault
 * @typedef {{type: string, title: string, status: number, detail: string, errors?: Fault[]}} Problem
 *
 * @typedef {"task" | "list" | "view"} Kind
 * @typedef {{kind: Kind, id: string, version: number, deleted: boolean, value: Task | List | View | null}} Change
 *
 * @typedef {object} Command what a person did, until the server has answered
 * @property {string} key also the Idempotency-Key
 * @property {number} [order] its place in the queue
 * @property {"create" | "edit" | "complete" | "reopen" | "delete" | "restore" | "move" | "quick" | "bulk"} what
 * @property {string} id of the task; of one that the server does not know yet, `new-` and the key
 * @property {Record<string, any>} body
 * @property {string} [query]
 * @property {number} [seen] the version that the person saw
 * @property {string} at when it was done
 *
 * @typedef {{command: Command, problem: Problem, theirs: Task | null}} Conflict
 *
 * @typedef {{start: number, end: number, kind: string, text: string}} Token
 * @typedef {{title: string, tokens: Token[], draft: Record<string, any>, reading: string, occurrences: string[],
 *   reminders: {reminder: string, fire_at: string}[], remarks: string[]}} Reading
 */
export {};
