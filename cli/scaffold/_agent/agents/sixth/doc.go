// Package sixth is the agent that keeps backups in a bucket of sixth.
//
//	sixth://bucket/prefix?endpoint=https://host:port
//
// The options of the URL are the fields of Config: endpoint, part_size,
// concurrency. The bucket has to be there: none is ever made or listed.
//
// Say here what a user has to know before a first backup: where credentials come
// from, and what keeps others from reading or changing what is sent.
//
// # How objects are stored
//
// Say here how an archive goes up in parts, which checksum the provider verifies, by
// which precondition nothing is overwritten, and how an upload that was interrupted
// finds its parts again.
//
// # Rights
//
// Name here each right that uploads, lists and restores need, in the provider's own
// words, then those to delete. No other is needed.
//
// # Other servers
//
// Say here what a server has to do that is not the provider's own.
package sixth
