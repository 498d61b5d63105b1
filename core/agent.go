package core

import (
	"context"
	"io"
	"iter"
)

// An Agent keeps whole backups at one remote place: a bucket and prefix, a
// container, a directory on another host, a local directory. It is the promise
// that somebody's data rests on. The clauses below are that promise; they hold
// for every agent, whatever its provider offers, and each has cases in the
// conformance suite that an agent without it does not pass.
//
// All or nothing. A backup exists at an agent when, and only when, its metadata
// document is there. The metadata is stored after the archive is: complete,
// checked, and on disk or acknowledged by the provider. An upload that is
// interrupted at any instant, by whatever means, leaves nothing that List, Get
// or Open shows.
//
// Immutable. Archives and metadata are created, never overwritten. Of two
// uploads of one id one wins and the bytes never mix; the other succeeds when
// its size and SHA-256 are the same, else it answers ErrExists. An id that was
// deleted on purpose is taken as well: ErrExists.
//
// Retry is safe. The answer to a commit can be lost. An agent finds out whether
// its own commit took effect before it reports that it did not.
//
// Nothing is trusted silently. Each part goes with a checksum that the server
// verifies where it can, and what was sent is compared with the checksums of
// the metadata before the commit. Bytes that come back altered, short or long
// are an error of kind ErrDamaged or ErrChanged, never a short success.
//
// List is complete or says so. It has every page, in order. An entry that
// cannot be read is one error in the sequence and does not hide the others. What
// is not ours is ignored and left alone.
//
// A place that is not there is not empty. Calls that read answer ErrNoPlace; an
// upload makes the place where it can.
//
// Errors have kinds. They answer errors.Is with one of the kinds of this
// package, name agent, operation and id, keep the provider's code and request
// id, wrap their cause, and hold no secret. See Error.
//
// The context is obeyed. A call whose context has ended returns context.Cause
// within two seconds even on a dead connection, and one that is called with an
// ended context asks the place nothing. No goroutine and no temporary object
// outlives the call, except the parts that a later upload of the same id goes on
// with; those are listed by Sweep.
//
// Memory is bounded by part size times workers, whatever the size of the
// archive.
//
// Requests are few: a list makes one for each backup and those for its pages, any
// other call a handful and those for its parts.
//
// Concurrency. All methods may be called from several goroutines at once, and
// several processes may use one place at the same time. What a call returns is
// the caller's to change, and what it was given is not kept.
//
// Names are hostile. Ids and keys are validated before any request is made:
// ErrInvalid. Nothing is read or written outside the agent's own place.
//
// The constructor's context bounds the constructor. It may end without harm to
// the agent.
type Agent interface {
	// Name is the agent's name in its deployment, for people and for results.
	// It is the same for the agent's whole life and holds no secret.
	Name() string

	// Upload stores the archive and then the metadata of src, all or nothing.
	//
	// It returns nil when the backup is stored and read back as such, or was
	// there before with the same size and SHA-256, whose metadata stays. Uploading an id again after an
	// interruption goes on where the place stands. An error of the source is
	// returned so that errors.Is finds it, and nothing becomes visible. A source
	// that ends before the size of its metadata, goes on after it, or does not
	// match its checksums answers ErrChanged. The agent reads src as its contract
	// says and neither closes nor keeps it.
	Upload(ctx context.Context, src Source) error

	// Open returns the stored archive of id to be read whole or by ranges, pinned
	// to the version that is there now. The caller closes it. ErrNotFound says
	// that there is no such backup; ErrDamaged that its metadata cannot be
	// understood or does not fit the archive.
	Open(ctx context.Context, id ID) (Archive, error)

	// List yields every backup in the order of ID.Compare, which is oldest first, to
	// the second, for ids of this product. Requests are made as the caller goes on, with a
	// bounded number of entries read ahead, and end when it stops.
	//
	// An error comes with a Backup whose ID says what it concerns. With an id, this
	// one entry cannot be read (ErrDamaged, ErrUnsupported for a newer major
	// schema, or what the place answered) and the sequence goes on. With an empty
	// id the list itself could not be read to its end, and the sequence is over:
	// what came before is right and incomplete.
	//
	// The sequence may be ranged over again, which is a new list.
	List(ctx context.Context) iter.Seq2[Backup, error]

	// Get returns the metadata of one backup as List does, or ErrNotFound.
	Get(ctx context.Context, id ID) (Backup, error)

	// Delete removes one backup: it leaves the mark that the id is gone, then
	// removes the metadata, then the archive, so that a crash leaves at most an
	// archive that nothing lists and Sweep removes. It also removes a backup
	// whose metadata is damaged. Deleting what is absent answers ErrNotFound, unless
	// this very call removed it; where the place protects the backup, ErrLocked with
	// the date, and nothing is changed.
	Delete(ctx context.Context, id ID) error

	// Close ends running calls, which answer ErrClosed, and connections. Closing
	// twice is fine. Later calls answer ErrClosed.
	Close() error
}

// An Archive is a stored archive, pinned to one version of the stored object:
// when that is replaced or removed underneath, Range answers ErrChanged or
// ErrNotFound, never bytes of another version. It is safe for concurrent use.
type Archive interface {
	// Backup is the metadata.
	Backup() Backup

	// Range returns exactly n bytes from off; n < 0 means to the end. The range
	// must lie in the archive: ErrInvalid. Its Read gives io.EOF only after
	// everything was delivered and checked: the checksum of each chunk that the
	// range covers whole, and the SHA-256 where it covers the archive. No bytes are a
	// range too, up to off at the archive's end. A byte that is read before io.EOF
	// may still prove damaged. The caller closes the reader; closing it early does
	// not fetch the rest.
	Range(ctx context.Context, off, n int64) (io.ReadCloser, error)

	io.Closer
}

// A Sweeper is an Agent that can remove what interrupted uploads and deletes
// left at its place.
type Sweeper interface {
	// Sweep yields each leftover: parts of an upload that was not finished, an
	// archive without metadata, a gone mark older than a year. What an Examine left that
	// was killed is one too. It removes at once what belongs to an id that own says is
	// over, that is, an upload of this host that neither runs nor will be gone on with.
	// What others left it removes only when an earlier sweep of this host, at least
	// seven days before, saw the very same; the rest it reports. own may be nil. A place
	// that is not there yet has no leftovers. An error comes with the Leftover that it
	// concerns; with an empty one the sweep is over.
	Sweep(ctx context.Context, own func(ID) bool) iter.Seq2[Leftover, error]
}

// A Leftover is something at a place that belongs to no backup.
type Leftover struct {
	ID      ID     // the upload that it is from
	Key     string // what it is called at the place
	What    string // "parts", "archive", "mark" or "scratch"
	Size    int64  // bytes, or -1 where the place does not say
	Removed bool   // whether this sweep removed it
}
