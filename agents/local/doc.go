// Package local is the agent that keeps backups in a directory: a second disk, a
// mounted share, a stick.
//
// The directory is made, with mode 0700, when the first byte is stored; files have
// mode 0600. Files of others that lie in it are left alone. Links in it are not
// followed, not even to another place in it; the directory itself may be one. All of
// it lies on one file system, because a file gets its name by a rename.
//
// Every file is synced before it gets its name, and its directory after that. On
// Linux and macOS the name is given by a rename that replaces nothing, elsewhere, and
// where the file system does not offer that, by a hard link, and where there are
// none of those, under a claim. The directory is opened anew for each operation, so
// that one that was moved away, or mounted later, is not mistaken for the one that
// its path names now.
//
// An upload in the making is locked while its process lives: on Linux by a lock of
// its open file, on the BSDs and macOS by flock, on Windows by LockFileEx. Where the
// file system has no locks, dates decide; see filetree.
//
// The archive of a run that lies on the same file system is not copied, but given a
// second name in the directory or, on Linux, cloned where the file system can do that
// and not this. It has to be what a copy would be, a regular file of mode 0600 and of
// the same user, and group, label and time stay what they were. Until its owner has
// removed the first name, which for an archive that waits for other agents may be
// days, the two are one file: a sector that fails is lost to both. Two directories
// never have one file between them; the blocks of a clone they may.
//
// A call ends with its context between two operations of the system. An operation
// on a network file system that does not answer cannot be interrupted: mount such a
// place so that it answers with an error ("soft").
package local
