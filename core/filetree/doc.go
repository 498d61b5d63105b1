// Package filetree makes an object.Store of a directory: a local one, or one on a
// server that knows only files. What differs between those is behind FS.
//
// An object is the file that its key names. What is in the making lies in the
// folder tmp, beside them and on the same file system, and gets its key as its
// name when it is complete and synced, in one step that never replaces anything:
//
//	meta/<id>.json
//	data/<id>.tar.zst
//	tmp/data,<id>.tar.zst.<token>.partial   the bytes so far
//	tmp/data,<id>.tar.zst.<token>.parts     the record of the parts that are in it
//	tmp/data,<id>.tar.zst.<token>.owner     where files have no locks, which process writes to it
//	tmp/data,<id>.tar.zst.<token>.shared    a file of this machine that is to be the object
//	tmp/data,<id>.tar.zst.claim             held while a name is given, where nothing better exists
//
// One writes to an upload at a time. Where files have locks, whoever began an upload
// or goes on with it has that of its partial file until he ends, and nobody else
// writes to it, or makes an object of it, meanwhile; when he was killed the next one
// goes on at once. Without locks, the next one goes on at once where the system tells
// that a process of this machine wrote to it that has ended, else when nothing was
// written for two minutes, and gives the upload another token. Who loses an upload to
// another is told that it is gone, and begins one of his own.
//
// What is shared belongs to others, until it has its name: nobody writes to it or
// goes on with it, so it needs no hold. See LocalFS.
//
// Whatever stops it, a name is there with all its bytes or not at all, and what
// stays in tmp belongs to nobody but the upload whose token it carries: it can be
// gone on with, and removed.
//
// Links are not followed: an object is a regular file. Other files are left alone;
// those whose name is no key are not seen. On a file system that does not tell
// letters by their case, keys that differ in nothing else are one name, and the
// second gets core.ErrExists.
package filetree
