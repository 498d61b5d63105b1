// Package object makes a core.Agent of any object store.
//
// An agent is a Store, the small driver that knows one provider, and above it
// the Agent of this package, which knows what a backup is. The layout is the same
// at every provider and made for people too:
//
//	meta/<id>.json            the metadata: the commit mark, stored last
//	data/<id>.tar.zst         the archive; a file uploaded as it is keeps its extension
//	gone/<id>                 deleted on purpose: never uploaded again; removed after a year
//	tmp/                      parts in flight, where a provider needs objects for them
//	tmp/examine-<id>          stored by Examine, which removes it again
//
// Everything else is not ours: it is ignored and left alone.
//
// A backup is stored in the order archive, metadata, and deleted in the order
// mark, metadata, archive. So whatever stops it, an archive without metadata may
// stay, which nothing lists and Sweep removes, and never the reverse.
package object
