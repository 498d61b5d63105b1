package object

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/transfer"
)

// A Store is the driver of one provider: named objects, ranges and parts. It is
// what a new agent implements; Agent makes a core.Agent of it.
//
// Keys are those of the layout in this package's documentation: slashes between
// words of [0-9A-Za-z._-]. A Store puts them below its own prefix or directory
// and answers with keys without it.
//
// Methods return errors of one of the kinds of core, as *core.Error with Kind,
// Code, RequestID and cause; agent, operation and id are added above. A missing
// bucket, container or directory is ErrNoPlace, except where an upload would make
// it. Methods end with their context and are safe for concurrent use. They retry
// nothing, and see to it that the provider's SDK does not either.
//
// An Object is the same whichever method returns it, and good for Range: Key, Size
// and Version are always set, the rest where the place tells it.
type Store interface {
	// Put creates an object of all bytes of body, which may be none and whose
	// checksum is sum, and returns when it is durable. An object that is there is ErrExists and stays as
	// it is; there is no instant at which a part of body is under the key.
	Put(ctx context.Context, key string, body *io.SectionReader, sum core.CRC64) (Object, error)

	// Range returns n bytes of o from off, n more than 0 and inside o.Size. When the
	// key holds another version than o by now, it or the reader answers ErrChanged,
	// when it holds none, ErrNotFound. A reader that ends early gives
	// io.ErrUnexpectedEOF.
	Range(ctx context.Context, o Object, off, n int64) (io.ReadCloser, error)

	// Stat returns what is under a key, or ErrNotFound.
	Stat(ctx context.Context, key string) (Object, error)

	// List yields the objects whose keys begin with prefix and come after after, in
	// byte order of the keys, page by page as the caller goes on. An error ends it. prefix is "" or a
	// key up to and with a slash, or more of it.
	List(ctx context.Context, prefix, after string) iter.Seq2[Object, error]

	// Delete removes an object, so that List and Stat do not show it, also where the
	// place keeps older versions. One that is not there is no error; one that the
	// place protects is ErrLocked, with Error.Until.
	Delete(ctx context.Context, key string) error

	// Begin starts an object of parts. token is [0-9a-z]{16}, random, and stays
	// with the upload and, where the provider keeps it, with the object.
	Begin(ctx context.Context, key, token string) (Multipart, error)

	// Multiparts yields the uploads in parts that were begun and neither committed
	// nor aborted, of all keys that begin with prefix. Callers give a whole key, or
	// "", and look at each key that they get.
	Multiparts(ctx context.Context, prefix string) iter.Seq2[Multipart, error]

	// Limits are the provider's, and what suits it.
	Limits() Limits

	// Close ends connections. It is called once, when no method runs.
	Close() error
}

// A Settler is a Store in which what was created may be seen before it survives a
// loss of power.
type Settler interface {
	// Settled returns when the object that was seen under a key is durable.
	Settled(ctx context.Context, key string) error
}

// A Sharer is a Store of files of this machine, which can make an object of a file
// that is there already without copying its bytes.
type Sharer interface {
	// Share begins an object of parts whose bytes are those of the file at path, that
	// of a core.SealedFile. It is not sealed yet: bytes are still appended to it. It
	// answers ErrUnsupported where the bytes would have to be copied.
	//
	// Put of what it returns compares a part with the file and reads nothing of its
	// body. Commit is called when the file is sealed and makes it the object. Both
	// answer ErrUnsupported where the file cannot be shared after all, or has other
	// bytes than the parts. Nobody can go on with it. The caller calls Abort when
	// Commit has failed or is not called, which works also after ctx has ended.
	Share(ctx context.Context, key, token, path string) (Multipart, error)
}

// A Protector is a Store whose place may protect objects from being deleted.
type Protector interface {
	// Protected returns until when the object under a key is protected, the zero time
	// where it is not, or ErrLocked where it is and nobody knows until when. An object
	// that is not there is not protected.
	Protected(ctx context.Context, key string) (until time.Time, err error)
}

// A Writability is a Store whose rights are of each directory.
type Writability interface {
	// Writable answers nil when objects can be made whose keys begin with a prefix, up to
	// and with a slash, or what Put would answer. It leaves nothing that a list shows.
	Writable(ctx context.Context, prefix string) error
}

// An Explainer is a Store that can tell an operator more of its place than its
// operations show.
type Explainer interface {
	// Right is what the provider calls the right whose lack err is, such as
	// "s3:PutObject", or "" where that cannot be told. err is of kind core.ErrDenied
	// and one that a method of this Store returned.
	Right(err error) string

	// Settings looks at what an operator has to know and no operation shows: versions,
	// locks, lifecycles that remove backups, free space, the server's key. It changes
	// nothing. What these credentials may not look at is left out, or a
	// core.VerdictNote: it needs no right that an upload does not need. The error is of
	// a place that could not be asked; what was found before comes with it.
	Settings(ctx context.Context) ([]core.Finding, error)
}

// An Object is one version of a stored object.
type Object struct {
	Key      string
	Size     int64
	Version  string     // ETag, generation, or what else changes with the bytes
	Modified time.Time  // by the place's clock; zero where unknown
	Token    string     // of the upload that made it; "" where not kept or not told
	Sum      core.CRC64 // of all bytes, as the place computed it
	Summed   bool       // whether Sum is known
}

// A Part is a piece of an archive.
type Part = transfer.Part

// Limits are what a place allows, and what suits it.
type Limits = transfer.Limits

// A Multipart is an object in the making. Several processes may hold the same one.
type Multipart interface {
	Key() string
	Token() string      // "" where the place does not tell; bytes are compared then
	Started() time.Time // by the place's clock

	// Parts are those that the place holds, in any order. What it cannot vouch for
	// is left out. Offset is 0 where it does not tell.
	Parts(ctx context.Context) ([]Part, error)

	// Put stores one part, replacing what was there under its index, and returns
	// when the place vouches for it. body has p.Size bytes of checksum p.CRC64.
	Put(ctx context.Context, p Part, body *io.SectionReader) error

	// Commit makes the object of all parts, at least one, in order and without a
	// gap, and returns what the place then reports. ErrExists when the key is taken,
	// and the parts stay until Abort; ErrNotFound when the upload is not there any
	// more, perhaps because an earlier Commit succeeded; ErrChanged when a part is
	// another by now, because another process sends to the same upload.
	Commit(ctx context.Context, parts []Part) (Object, error)

	// Abort removes all parts; when there are none it does nothing.
	Abort(ctx context.Context) error
}

// An Ordered is a Multipart at a place that may take parts in no order but their own.
type Ordered interface {
	// InOrder says whether Put is to be called for one part after the other. What it
	// says stays so.
	InOrder() bool
}
