// Package platform makes backups and brings them back: it runs hooks, packs once,
// and sends the same bytes to every agent at once.
//
// Data flows one way. The archive is written to a spool file, and each agent reads
// behind the writer in its own time:
//
//	hooks -> archive.Pack -> spool -> agent
//	                               -> agent
//
// What a run may leave here and at agents is in the state folder before it is
// made, so that the next command can clear up after one that was killed. The posts
// of hooks are not: what a killed run has paused stays paused.
//
//	runs/<id>/run.json    what runs, or ran; removed when nothing of it is left
//	runs/<id>/lock        held by the process that runs it
//	runs/<id>/hooks/      what hooks dumped for the archive; removed once it is packed
//	runs/<id>/archive     the spool, unless that has a folder of its own
package platform
