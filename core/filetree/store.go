package filetree

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
	"github.com/offsite-backup/offsite/core/transfer"
)

// Options are what suits one kind of place.
type Options struct {
	Limits transfer.Limits
	Chance io.Reader // randomness, safe for concurrent use; nil means the system's

	// ReadBack makes Parts read every part that is on record and compare its
	// checksum, so that it vouches for what is there and not for what a sync
	// promised. It suits a place that is read faster than written.
	ReadBack bool

	// Remote says that each operation waits for a network.
	Remote bool

	// NoLocks says that no File of the FS is a Locker, which saves asking.
	NoLocks bool

	// Process knows the processes of this machine; nil means as the system does.
	Process Process
}

// A Store is an object.Store over an FS.
type Store struct {
	fs      FS
	options Options

	mu   sync.Mutex
	seen map[string]bool // directories of objects whose names may not be synced yet

	holds map[string]*hold // by the name of the partial file
}

var (
	_ object.Store   = (*Store)(nil)
	_ object.Settler = (*Store)(nil)
	_ object.Sharer  = (*Store)(nil)
)

// New returns the Store over a file system, which it closes.
func New(fsys FS, o Options) *Store {
	if o.Chance == nil {
		o.Chance = rand.Reader
	}
	if o.Process == nil {
		o.Process = system{}
	}
	return &Store{fs: fsys, options: o, seen: map[string]bool{}, holds: map[string]*hold{}}
}

// Limits are those of the Options.
func (s *Store) Limits() transfer.Limits { return s.options.Limits }

// Close lets others have the uploads that are held, and closes the file system.
func (s *Store) Close() error {
	s.endHolds()
	return s.fs.Close()
}

// Put creates an object of all bytes of body.
func (s *Store) Put(ctx context.Context, key string, body *io.SectionReader, sum core.CRC64) (object.Object, error) {
	if err := checkKey(key); err != nil {
		return object.Object{}, err
	}
	token, err := s.token()
	if err != nil {
		return object.Object{}, err
	}
	m, err := s.begin(ctx, key, token)
	if err != nil {
		return object.Object{}, err
	}
	o, err := m.whole(ctx, body, sum)
	if err != nil {
		later, end := outlast(ctx)
		defer end()
		// What cannot be removed now is found by Multiparts.
		_ = m.clear(later)
		return object.Object{}, err
	}
	return o, nil
}

// Stat returns what is under a key.
func (s *Store) Stat(ctx context.Context, key string) (object.Object, error) {
	if err := checkKey(key); err != nil {
		return object.Object{}, err
	}
	info, err := s.lstat(ctx, key)
	if err != nil {
		return object.Object{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[path.Dir(key)] = true
	return describe(key, info), nil
}

// Settled returns when the name of an object is on disk. Its bytes were before it got
// the name. Whoever made it may have been killed in between, or its sync failed.
func (s *Store) Settled(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if _, err := s.lstat(ctx, key); err != nil {
		return err
	}
	return s.syncDirs(ctx, path.Dir(key))
}

// exists lets the error of a publish say that a key is taken when the name that
// takes it is on disk, not before.
func (s *Store) exists(ctx context.Context, key string, err error) error {
	if !errors.Is(err, core.ErrExists) {
		return err
	}
	if unsynced := s.syncDirs(ctx, path.Dir(key)); unsynced != nil {
		return unsynced
	}
	return err
}

// Range opens the file of o and returns n of its bytes from off.
func (s *Store) Range(ctx context.Context, o object.Object, off, n int64) (io.ReadCloser, error) {
	if err := checkKey(o.Key); err != nil {
		return nil, err
	}
	if off < 0 || n <= 0 || n > o.Size-off {
		return nil, core.Errorf(core.ErrInvalid, "%d bytes from %d are not in %s of %d", n, off, o.Key, o.Size)
	}
	if _, err := s.lstat(ctx, o.Key); err != nil {
		return nil, err
	}
	f, err := s.open(ctx, o.Key, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && version(info) != o.Version {
		err = core.Errorf(core.ErrChanged, "%s is not the file that it was", o.Key)
	}
	if err != nil {
		return nil, s.fail(ctx, errors.Join(err, f.Close()))
	}
	if remote, ok := f.(Streamer); ok {
		return &streamed{ctx, s, remote.Stream(off, n), f}, nil
	}
	return fileRange{&reader{ctx: ctx, store: s, file: f, at: off, left: n}, f}, nil
}

// Delete removes the file of a key.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	_, err := s.lstat(ctx, key)
	if err == nil {
		err = s.remove(ctx, key)
	}
	if err != nil && !errors.Is(err, core.ErrNotFound) {
		return err
	}
	// Also for what another call removed: to be gone has to last.
	if err := s.fs.SyncDir(ctx, path.Dir(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s.fail(ctx, err)
	}
	return nil
}

// A reader is a range of an open file.
type reader struct {
	ctx      context.Context
	store    *Store
	file     io.ReaderAt
	at, left int64
}

func (r *reader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	n, err := r.file.ReadAt(p[:min(int64(len(p)), r.left)], r.at)
	r.at, r.left = r.at+int64(n), r.left-int64(n)
	switch {
	case n > 0 || len(p) == 0:
		return n, nil // an error comes again
	case errors.Is(err, io.EOF):
		return 0, io.ErrUnexpectedEOF
	}
	return 0, r.store.fail(r.ctx, err)
}

// A fileRange is a reader that closes its file.
type fileRange struct {
	*reader
	io.Closer
}

// A streamed range is one of a Streamer, which it closes with its file.
type streamed struct {
	ctx   context.Context
	store *Store
	in    io.ReadCloser
	file  File
}

func (r *streamed) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	if err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
		err = r.store.fail(r.ctx, err)
	}
	return n, err
}

func (r *streamed) Close() error { return errors.Join(r.in.Close(), r.file.Close()) }

// lstat describes a regular file; what is none is core.ErrNotFound.
func (s *Store) lstat(ctx context.Context, name string) (fs.FileInfo, error) {
	info, err := s.fs.Lstat(ctx, name)
	if err == nil && !info.Mode().IsRegular() {
		return nil, core.Errorf(core.ErrNotFound, "%s is no regular file", name)
	}
	return info, s.fail(ctx, err)
}

func (s *Store) open(ctx context.Context, name string, flag int) (File, error) {
	f, err := s.fs.OpenFile(ctx, name, flag)
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	return f, nil
}

// remove removes a file; one that is not there is no error.
func (s *Store) remove(ctx context.Context, name string) error {
	if err := s.fs.Remove(ctx, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s.fail(ctx, err)
	}
	return nil
}

// mkdir makes a directory and those above it that are missing.
func (s *Store) mkdir(ctx context.Context, dir string) error {
	info, err := s.fs.Lstat(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		if dir != "." {
			if err := s.mkdir(ctx, path.Dir(dir)); err != nil {
				return err
			}
		}
		if err := s.fs.Mkdir(ctx, dir); err != nil && !errors.Is(err, fs.ErrExist) {
			return s.fail(ctx, err)
		}
		return nil
	}
	if err == nil && !info.IsDir() {
		return notDir(dir)
	}
	return s.fail(ctx, err)
}

func notDir(name string) error {
	return core.Errorf(core.ErrUnsupported, "%s is no directory, and links are not followed", name)
}

// syncDirs makes the names in dir and of the directories that lead to it survive
// a loss of power.
func (s *Store) syncDirs(ctx context.Context, dir string) error {
	var steps []func() error
	for above := dir; ; above = path.Dir(above) {
		steps = append(steps, func() error { return s.fs.SyncDir(ctx, above) })
		if above == "." {
			return s.fail(ctx, s.together(steps...))
		}
	}
}

// together takes steps that do not depend on each other, all of them: side by side where
// each waits for a network.
func (s *Store) together(steps ...func() error) error {
	if s.options.Remote {
		var all errgroup.Group
		for _, step := range steps {
			all.Go(step)
		}
		return all.Wait()
	}
	var failed error
	for _, step := range steps {
		if err := step(); failed == nil {
			failed = err
		}
	}
	return failed
}

// syncSeen makes every object survive that Stat has told of. Somebody may be about
// to store what rests on it, and whoever made it may have been killed before this.
func (s *Store) syncSeen(ctx context.Context) error {
	s.mu.Lock()
	dirs := s.seen
	s.seen = map[string]bool{}
	s.mu.Unlock()
	for dir := range dirs {
		err := s.syncDirs(ctx, dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			delete(dirs, dir)
			continue
		}
		s.mu.Lock()
		for dir := range dirs {
			s.seen[dir] = true
		}
		s.mu.Unlock()
		return err
	}
	return nil
}

// fail says what an error of the file system means.
func (s *Store) fail(ctx context.Context, err error) error {
	if err == nil || core.KindOf(err) != "" {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	kind := s.fs.Kind(err)
	if kind == core.ErrNotFound {
		if _, there := s.fs.Lstat(ctx, "."); errors.Is(there, fs.ErrNotExist) {
			kind = core.ErrNoPlace
		}
	}
	return &core.Error{Kind: kind, Err: err}
}

func (s *Store) token() (string, error) {
	var raw [tokenSize]byte
	if _, err := io.ReadFull(s.options.Chance, raw[:]); err != nil {
		return "", fmt.Errorf("no chance for a token: %w", err)
	}
	for i := range raw {
		raw[i] = "0123456789abcdefghijklmnopqrstuv"[raw[i]%32]
	}
	return string(raw[:]), nil
}

// graceTime is how long a cancelled call may take to leave things in order.
const graceTime = time.Second

// outlast returns a context that ends a moment after ctx does: for what has to be
// done although the caller has left.
func outlast(ctx context.Context) (_ context.Context, end func()) {
	later, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	unhook := context.AfterFunc(ctx, func() {
		time.AfterFunc(graceTime, func() { cancel(context.Cause(ctx)) })
	})
	return later, func() { unhook(); cancel(nil) }
}

func describe(key string, info fs.FileInfo) object.Object {
	return object.Object{Key: key, Size: info.Size(), Version: version(info), Modified: info.ModTime()}
}

// version tells files of one name apart: size, time and, where it is known, the
// inode.
func version(info fs.FileInfo) string {
	return fmt.Sprintf("%d-%d-%d", info.Size(), info.ModTime().UnixNano(), inode(info))
}
