// Package command is the hook kind command: programs that run around a backup.
//
//	hooks:
//	  - name: database
//	    command:
//	      pre: [pg_dump, --format=custom, "--file={dir}/app.dump", app]
//	      env: {PGHOST: db.lan, PGPASSWORD: {file: /etc/offsite/db.password}}
//	  - name: pause
//	    command: {pre: [systemctl, stop, app], post: [systemctl, start, app]}
//	  - name: tell
//	    command: {after: [/etc/offsite/notify]}
//
// # What runs
//
// Each action is a program and its arguments, which reach it as they are written: no
// shell reads them, unless the program is one ([sh, -c, "dump | gzip"]). Only {dir}
// in an argument becomes the hook's own directory, whose files go into the archive
// under hooks/<name>/; {{dir}} is {dir} itself. An after has no such directory.
//
// A program is a path that is written in full, or a word that is looked for in PATH,
// which may stand in env. That it is there is asked before a run; see core.Hook.Ready.
// It stands in dir when it starts, and without that in the
// root: where the caller stood, another process that must run the post later cannot
// know. It has no terminal: one that asks something there is ended.
//
// An action fails when its program does not exit with 0. The error has what the
// program printed, to both streams: the first 4 KiB and the last 28 KiB, without the
// secrets of env, and with control characters made visible. Of a program that
// succeeds nothing is shown.
//
// # What it is told
//
// It inherits the environment of its caller, with env over it. Nothing of the
// configuration is added but these, each where there is something to say:
//
//	OFFSITE_ID       the run, and the backup that it makes
//	OFFSITE_JOB      the job
//	OFFSITE_PHASE    pre, post or after
//	OFFSITE_HOOK     the name of the hook
//	OFFSITE_DIR      the hook's own directory
//	OFFSITE_ERROR    post, after: what went wrong; its first 4 KiB
//	OFFSITE_OUTCOME  after: ok, degraded or failed
//	OFFSITE_AGENTS   after: a line for each agent: "disk: stored", "nas: failed: no space"
//	OFFSITE_GROUP    by which processes that are left behind are known
//
// Its standard input is one line of JSON and then ends. It says all of this in full.
// A key that has nothing to say is not there; keys may be added; v changes when what
// is there changes its meaning.
//
//	{"v": 1, "id": "20261123T045900Z-mzxw6ytboi4dk", "job": "web1", "phase": "after", "hook": "tell",
//	 "error": "nas: no space", "outcome": "degraded",
//	 "agents": [{"name": "disk", "state": "stored"}, {"name": "nas", "state": "failed", "error": "no space"}],
//	 "backup": {"schema": "1.0", "id": "20261123T045900Z-mzxw6ytboi4dk", …}}
//
// dir is the directory, of pre and post. outcome, agents and backup are of after.
// The state of an agent is stored, failed, pending or skipped (core.State); backup is the metadata
// (core.Backup), as far as it is known. A program need not read any of it.
//
// # How it ends
//
// A program runs in a process group of its own. When its time is over, or the run is
// interrupted, the group gets SIGTERM and a quarter of a second later SIGKILL.
//
// What a post leaves running when it has ended by itself is the application. It goes
// on, is not waited for, and may print to the output of the hook, which nobody sees: a
// cat reads it for as long as somebody may print. Under systemd it goes on where the
// unit that runs the hook says KillMode=process. Better, ask the service manager to
// start it.
//
// What a pre or an after leaves in its group when it has ended by itself is ended in
// the same way as the group of one whose time is over, and a warning says so: what it
// begins in the background does not outlive it by accident. A daemon that is meant to
// stay starts in a session of its own, as daemons do, and does not print to the pipe
// of the hook: [setsid, --fork, daemon].
//
// When the process that runs the hook dies, even by SIGKILL, a pre ends at once: it
// may hold a lock that nobody would ever release. A post and an after may go on for as
// long as they were given: an application that is being started should start. One that
// has not ended by then is ended with its group. What a post leaves that ended by
// itself goes on; what an after leaves is ended with the rest. The post is owed all the
// same and runs again, so it must bear to run twice, and also without the directory,
// which may be gone by then. Before that, the groups are ended of what has not ended by
// itself, see End. No program runs before its group is noted where End finds it, but
// for a post where that cannot be noted, as on a full disk: the application is to go on.
//
// A program that becomes another user, as with sudo, cannot be ended by one who is
// not root.
//
// Two groups of processes that leave the group of a program are ended too: one that
// the program itself makes, as timeout does, and, on Linux, any in the same session
// that has OFFSITE_GROUP. The kind needs /bin/sh, and Linux or macOS; elsewhere it
// answers core.ErrUnsupported.
package command
