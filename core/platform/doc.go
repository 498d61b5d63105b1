// Package platform makes backups and brings them back: it runs hooks, packs once,
// and sends the same bytes to every agent at once.
//
// Data flows one way. The archive is written to a spool file, and each agent reads
// behind the writer in its own time:
//
//	hooks -> archive.Pack -> spool -> agent
//	                               -> agent
//
// What a run may leave here, at agents and in the application is in the state folder
// before it happens, so that the next command, or Recover, can end it after one that
// was killed: hooks that were begun are undone, archives that were packed go on to
// the agents, what is of no use is removed.
//
//	runs/<id>/run.json        what runs, or ran; removed when nothing of it is left
//	runs/<id>/lock            held by the process that runs it
//	runs/<id>/ledger.jsonl    its steps, a line each, on disk before the step is taken
//	runs/<id>/hooks/          what hooks dumped for the archive; removed once it is packed
//	runs/<id>/archive         the spool, unless that has a folder of its own
//	runs/<id>/backup.json     the metadata of an archive that is packed and on disk
//	jobs/<name>.lock          held by the process that runs the job
//	ledger/<id>.jsonl         the ledgers of the last thousand runs that are over
package platform
