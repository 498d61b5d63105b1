// Package sftp is the agent that keeps backups in a directory of a server that speaks
// SFTP: OpenSSH, a NAS, a storage box.
//
//	sftp://backup@nas.example:2222/volume1/web1?key=/etc/offsite/nas.key
//	sftp://backup@nas.example/~/web1
//
// The path is absolute at the server; one that begins with /~/ is below the home
// directory of the user, which is where the server puts who logs in. The options of
// the URL are the fields of Config: key (a file, key_file in a configuration),
// certificate, known_hosts, host_key, connections, part_size. A password and the
// passphrase of a key stand in no URL: with one, they come from the environment
// variables OFFSITE_SFTP_PASSWORD, for every server that the command names without a
// key, and OFFSITE_SFTP_PASSPHRASE.
//
// # Who the server is
//
// The key of the server is always checked, against the files of known hosts or a
// fingerprint (host_key=SHA256:…). One that is not known is an error that shows its
// fingerprint and the line to add; nothing is ever added by itself. A server whose
// key is signed by a @cert-authority of those files is known too.
//
// # Who we are
//
// By the key that is given, with its certificate if there is one, and then by the
// password; where neither is given, by the keys of the ssh-agent at SSH_AUTH_SOCK.
// ~/.ssh/config is not read, and keys in ~/.ssh are not looked for.
//
// # How objects are stored
//
// As filetree does it: a partial file gets its name by a hard link, where the server
// has those, else by a rename under a claim. No rename is trusted to replace nothing:
// whatever the protocol says, many do, and others look first and rename then. Files and
// directories are synced where the server offers that (fsync@openssh.com). Where it
// does not, that is said once in the log, what it stored last may be lost when its
// power fails, and an upload that is gone on with reads its parts back. New files have mode
// 0600, directories 0700.
//
// SFTP has neither locks nor checksums. Who goes on with an upload is told by dates
// and processes: see filetree. That the server wrote what it was sent is not verified
// until somebody reads it; what is sent is protected on its way by SSH.
//
// # Connections
//
// One SSH connection carries no more than 2 MiB in a round trip, so there are several,
// 4 at most unless connections says otherwise, opened as they are needed. Where the
// server refuses a further one, those that there are do. A connection on which nothing
// comes back for as long as Patience.Stall, keepalives included, is ended; so is one
// with an operation that somebody waits for and that does not end with its context.
//
// # Rights
//
// The user makes, reads, renames and removes files in the directory, and makes the
// directory where it is missing. One who may not remove (internal-sftp -P remove,rmdir)
// makes, lists and restores backups too; what uploads leave in tmp stays there. No command is run at the server: a user that may do
// nothing but SFTP is enough (ForceCommand internal-sftp, restrict).
package sftp
