package filetree

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"iter"
	"slices"
	"strings"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

// List yields the regular files whose names are keys that begin with prefix and
// come after after. It reads the directories that the prefix leaves open, one after the other.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[object.Object, error] {
	return func(yield func(object.Object, error) bool) {
		l := lister{Store: s, ctx: ctx, prefix: prefix, after: after, yield: yield}
		dir := prefix[:strings.LastIndexByte(prefix, '/')+1]
		err := l.check(dir)
		if err == nil {
			_, err = l.walk(dir)
		}
		if err != nil {
			yield(object.Object{}, err)
		}
	}
}

// A lister is one List.
type lister struct {
	*Store
	ctx    context.Context
	prefix string
	after  string
	yield  func(object.Object, error) bool
}

// check refuses to list where a link or a file stands in a directory's place: the
// objects may be elsewhere, and no list of them must look empty.
func (l *lister) check(dir string) error {
	if dir == "" {
		return nil
	}
	name := strings.TrimSuffix(dir, "/")
	if name == "." || !fs.ValidPath(name) {
		return core.Errorf(core.ErrInvalid, "%.140q begins no key", l.prefix)
	}
	info, err := l.fs.Lstat(l.ctx, name)
	if err == nil && !info.IsDir() {
		return notDir(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil // walk finds out what is missing
	}
	return l.fail(l.ctx, err)
}

// walk yields what is in dir, which is "" or ends with a slash, and whether the
// caller wants more.
func (l *lister) walk(dir string) (more bool, err error) {
	infos, err := l.dir(l.ctx, dir)
	if err != nil {
		return false, err
	}
	for _, info := range infos {
		if l.ctx.Err() != nil {
			return false, context.Cause(l.ctx)
		}
		key := dir + info.Name()
		switch {
		case !validKey(key):
			continue
		case info.IsDir():
			more, err = true, nil
			if strings.HasPrefix(key+"/", l.prefix) || strings.HasPrefix(l.prefix, key+"/") {
				more, err = l.walk(key + "/")
			}
		default:
			more = !info.Mode().IsRegular() || !strings.HasPrefix(key, l.prefix) || key <= l.after || l.yield(describe(key, info), nil)
		}
		if err != nil || !more {
			return false, err
		}
	}
	return true, nil
}

// dir reads a directory in the order of the keys in it. One that is not there has
// nothing in it, unless the place itself is missing.
func (s *Store) dir(ctx context.Context, name string) ([]fs.FileInfo, error) {
	infos, err := s.fs.ReadDir(ctx, cmp.Or(strings.TrimSuffix(name, "/"), "."))
	if err = s.fail(ctx, err); err != nil {
		if errors.Is(err, core.ErrNotFound) {
			return nil, nil
		}
		return nil, err
	}
	slices.SortFunc(infos, func(a, b fs.FileInfo) int { return strings.Compare(sortName(a), sortName(b)) })
	return infos, nil
}

// sortName sorts a directory where the keys below it belong: after "a.b", before
// "a0".
func sortName(info fs.FileInfo) string {
	if info.IsDir() {
		return info.Name() + "/"
	}
	return info.Name()
}
