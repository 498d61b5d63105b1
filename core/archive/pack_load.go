package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// smallFile is the size up to which files are read ahead, several at once. What
// is larger is read when its turn comes, so that memory stays flat.
const smallFile = 128 << 10

// An item is a mark on its way into the archive. It belongs to whoever loads it,
// and after ready is closed to the assembler.
type item struct {
	mark
	ready chan struct{}

	header  header
	id      identity // of a file with several names, else zero
	file    *os.File // a regular file that is not read yet
	opened  fs.FileInfo
	holes   *sparse
	content []byte // a small file, where file is nil
	sum     string // of content
	odds    []Oddity
	skip    bool // there is nothing to archive
}

// release lets go of what an item holds.
func (it *item) release() {
	if it.file != nil {
		_ = it.file.Close() // only read
		it.file = nil
	}
	it.dir.release()
	if it.self != nil {
		it.self.release()
	}
}

// lost gives an item up.
func (it *item) lost(o Oddity) {
	it.odds, it.skip = append(it.odds, o), true
}

// A loader reads what an archive says of a file, and small files whole. It is
// safe for concurrent use.
type loader struct {
	ctx   context.Context
	names names
	links *links
}

// load fills it from what lies on disk.
func (l *loader) load(it *item) {
	if it.odd != nil {
		it.lost(*it.odd)
		return
	}
	kind := kindOf(it.info.Mode())
	switch {
	case it.info.Mode().Type() == fs.ModeSocket:
		// A socket is made by the process that listens on it.
		it.lost(Oddity{Path: it.path(), What: isSocket})
	case kind == 0:
		it.lost(Oddity{Path: it.path(), What: isUnknown, Lost: true})
	case kind == typeRegular:
		l.regular(it)
	default:
		l.other(it, kind)
	}
}

// describe fills the header from a file's attributes.
func (l *loader) describe(it *item, kind byte, info fs.FileInfo) {
	st := statOf(info)
	it.header = header{
		kind: kind, name: it.name, mode: info.Mode(), mtime: info.ModTime(),
		uid: st.uid, gid: st.gid, user: l.names.user(st.uid), group: l.names.group(st.gid),
	}
	if kind == typeChar || kind == typeBlock {
		it.header.major, it.header.minor = st.major, st.minor
	}
	if kind == typeRegular && st.links > 1 {
		it.id = st.id
	}
}

// attributes keeps the extended attributes that tar can carry.
func (it *item) attributes(xs []record, err error) {
	room := maxRecords - 4*maxName // for the other records
	for _, x := range xs {
		room -= len(appendRecord(nil, record{xattrPrefix + xattrKey.Replace(x.key), x.value}))
		if room < 0 {
			err = errors.Join(err, fmt.Errorf("%q is more than tar can carry", x.key))
			break
		}
		it.header.xattrs = append(it.header.xattrs, x)
	}
	if err != nil {
		it.odds = append(it.odds, Oddity{Path: it.path(), What: attributes, Lost: true, Err: err})
	}
}

// maxName is the longest name, link or target that is expected.
const maxName = 1 << 14

// other loads what is no regular file.
func (l *loader) other(it *item, kind byte) {
	l.describe(it, kind, it.info)
	if kind == typeSymlink {
		link, err := it.dir.root.Readlink(it.base)
		if err != nil {
			it.lost(trouble(it.path(), err))
			return
		}
		it.header.link = link
	}
	folder, read := it.dir, func(f *os.File) ([]record, error) { return xattrsOf(f, it.base) }
	if it.self != nil {
		folder, read = it.self, xattrs
	}
	dir, err := folder.root.Open(".")
	if err != nil {
		it.attributes(nil, err)
		return
	}
	it.attributes(read(dir))
	_ = dir.Close()
}

// regular opens a regular file, and reads it where it is small.
func (l *loader) regular(it *item) {
	if st := statOf(it.info); st.links > 1 && l.links.known(st.id) {
		l.describe(it, typeRegular, it.info)
		return
	}
	if err := l.open(it); err != nil {
		it.lost(trouble(it.path(), err))
		return
	}
	switch {
	case holed(it.opened):
		size := it.opened.Size()
		it.holes = newSparse(size, extents(it.file, size))
	case it.opened.Size() <= smallFile:
		l.small(it)
	}
}

// open opens the file that its name stands for by now: programs save by putting a
// new file in the place of the old one.
func (l *loader) open(it *item) (err error) {
	for range 3 {
		if err = l.whenFree(it); !errors.Is(err, errSwapped) {
			break
		}
		info, e := it.dir.root.Lstat(it.base)
		if e != nil {
			return e
		}
		if !info.Mode().IsRegular() {
			break
		}
		it.info = info
	}
	if err != nil {
		return err
	}
	l.describe(it, typeRegular, it.opened)
	it.header.size = it.opened.Size()
	it.attributes(xattrs(it.file))
	return nil
}

// The holder of a lease on a file, such as a Samba or NFS server, has to give it back
// when somebody else opens it. The kernel takes it from them after 45 seconds, where
// /proc/sys/fs/lease-break-time says nothing else: fcntl(2), "Leases".
const (
	leaseMost = time.Minute
	leaseLook = 100 * time.Millisecond
)

// whenFree opens a file once nobody has a lease on it.
func (l *loader) whenFree(it *item) (err error) {
	for range leaseMost / leaseLook {
		if it.file, it.opened, err = it.dir.open(it.base, it.info); !errors.Is(err, syscall.EAGAIN) {
			break
		}
		select {
		case <-time.After(leaseLook):
		case <-l.ctx.Done():
			return context.Cause(l.ctx)
		}
	}
	return err
}

// small reads a file whole.
func (l *loader) small(it *item) {
	b := make([]byte, it.opened.Size())
	n, err := io.ReadFull(it.file, b)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		it.lost(trouble(it.path(), err))
		return
	}
	if o, odd := it.after(int64(n)); odd {
		it.odds = append(it.odds, o)
	}
	it.content, it.header.size = b[:n], int64(n)
	sum := sha256.Sum256(it.content)
	it.sum = hex.EncodeToString(sum[:])
	_ = it.file.Close()
	it.file = nil
}

// after says whether a file changed while n bytes of it were read.
func (it *item) after(n int64) (Oddity, bool) {
	size := it.opened.Size()
	if n < size {
		return Oddity{Path: it.path(), What: changed, Lost: true, Err: fmt.Errorf("it ended after %d of %d bytes", n, size)}, true
	}
	now, err := it.file.Stat()
	if err == nil && unchanged(it.opened, now) {
		return Oddity{}, false
	}
	if err == nil && now.Size() > size {
		err = fmt.Errorf("it has the first %d of now %d bytes", size, now.Size())
	}
	return Oddity{Path: it.path(), What: changed, Err: err}, true
}

// names remembers what users and groups are called. It is safe for concurrent
// use.
type names struct {
	mu            sync.Mutex
	users, groups map[int]string
}

func (n *names) user(id int) string {
	return n.name(&n.users, id, func(s string) (string, error) {
		u, err := user.LookupId(s)
		if err != nil {
			return "", err
		}
		return u.Username, nil
	})
}

func (n *names) group(id int) string {
	return n.name(&n.groups, id, func(s string) (string, error) {
		g, err := user.LookupGroupId(s)
		if err != nil {
			return "", err
		}
		return g.Name, nil
	})
}

func (n *names) name(known *map[int]string, id int, look func(string) (string, error)) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	name, ok := (*known)[id]
	if ok {
		return name
	}
	// Who has no name is archived by number alone.
	name, _ = look(strconv.Itoa(id))
	if *known == nil {
		*known = map[int]string{}
	}
	(*known)[id] = name
	return name
}

// links remembers the files with several names that are in the archive, until
// all of their names were met. It is safe for concurrent use.
type links struct {
	mu    sync.Mutex
	first map[identity]*linked
}

type linked struct {
	name string
	size int64
	sum  string
	left uint64 // names not met yet
}

func (l *links) known(id identity) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first[id] != nil
}

// meet returns the first name of a file and strikes off one more of its names.
func (l *links) meet(id identity) (linked, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.first[id]
	if f == nil {
		return linked{}, false
	}
	if f.left--; f.left == 0 {
		delete(l.first, id)
	}
	return *f, true
}

func (l *links) add(id identity, f linked) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.first[id] = &f
}

// loadAll loads what comes until there is no more.
func (l *loader) loadAll(ctx context.Context, work <-chan *item) {
	for it := range work {
		if ctx.Err() == nil {
			l.load(it)
		} else {
			it.skip = true
		}
		close(it.ready)
	}
}
