package gcs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	raw "google.golang.org/api/storage/v1"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

// tmp is where the parts of uploads lie: tmp/KEY/TOKEN/NAME.
const tmp = "tmp/"

// mostSources is how many objects are composed at once:
// https://cloud.google.com/storage/docs/composite-objects
const mostSources = 32

// A composite is an archive whose parts are objects, of which one is composed at last.
// The server's list says which there are: index, CRC-64 and CRC32C of a part stand in its
// name, and the last of them is what the server computes.
type composite struct {
	*store
	key, token string
	started    time.Time
}

func (s *store) Begin(ctx context.Context, key, token string) (object.Multipart, error) {
	session, err := s.inSession(ctx)
	if err != nil {
		return nil, err
	}
	if session {
		return s.beginSession(ctx, key, token)
	}
	return &composite{s, key, token, s.env.Now()}, nil
}

// Multiparts yields an upload for each token that parts have, and the sessions that this
// machine remembers.
func (s *store) Multiparts(ctx context.Context, prefix string) iter.Seq2[object.Multipart, error] {
	return func(yield func(object.Multipart, error) bool) {
		var last *composite
		for item, err := range s.items(ctx, tmp+prefix, "") {
			if err != nil {
				yield(nil, err)
				return
			}
			key, token, ok := parseTmp(strings.TrimPrefix(item.Name, s.prefix+tmp))
			if !ok {
				continue // another's
			}
			if last == nil || last.key != key || last.token != token {
				if last != nil && !yield(last, nil) {
					return
				}
				last = &composite{s, key, token, created(item)}
			}
			if at := created(item); at.Before(last.started) {
				last.started = at
			}
		}
		if last != nil && !yield(last, nil) {
			return
		}
		s.sessions(ctx, prefix, yield)
	}
}

func created(o *raw.Object) time.Time {
	at, _ := time.Parse(time.RFC3339, o.TimeCreated) // zero where the server does not tell
	return at
}

var uploadToken = regexp.MustCompile(`^[0-9a-z]{16}$`)

// parseTmp reads KEY/TOKEN/NAME.
func parseTmp(rest string) (key, token string, ok bool) {
	dir, _ := path.Split(rest)
	key, token = path.Split(strings.TrimSuffix(dir, "/"))
	key = strings.TrimSuffix(key, "/")
	return key, token, key != "" && uploadToken.MatchString(token)
}

func (m *composite) Key() string        { return m.key }
func (m *composite) Token() string      { return m.token }
func (m *composite) Started() time.Time { return m.started }

// dir is where its parts lie.
func (m *composite) dir() string { return tmp + m.key + "/" + m.token + "/" }

// A piece is a part, or what was composed of several.
type piece struct {
	name       string // below dir
	generation int64
	size       int64
	crc        crc32c
	sum        core.CRC64
}

// slot is what begins the name of a part, and the rest of it is what its bytes are.
func slot(p object.Part) string { return fmt.Sprintf("%05d-%016x", p.Index, uint64(p.CRC64)) }

func partName(p object.Part, crc crc32c) string { return fmt.Sprintf("%s-%08x", slot(p), uint32(crc)) }

var partNames = regexp.MustCompile(`^([0-9]{5})-([0-9a-f]{16})-[0-9a-f]{8}$`)

// part is the part that a piece is, unless it is none or has other bytes than its name
// says.
func (p piece) part() (object.Part, bool) {
	words := partNames.FindStringSubmatch(p.name)
	if words == nil || p.size == 0 {
		return object.Part{}, false
	}
	index, _ := strconv.Atoi(words[1])            // five digits
	sum, _ := strconv.ParseUint(words[2], 16, 64) // 16 of them
	is := object.Part{Index: index, Size: p.size, CRC64: core.CRC64(sum)}
	return is, partName(is, p.crc) == p.name
}

// pieces are all that there are.
func (m *composite) pieces(ctx context.Context) (all []piece, err error) {
	for item, err := range m.items(ctx, m.dir(), "") {
		if err != nil {
			return nil, err
		}
		crc, ok := parseCRC32C(item.Crc32c)
		if !ok {
			return nil, core.Errorf(core.ErrUnsupported, "the server tells no CRC32C of %s", item.Name)
		}
		all = append(all, piece{strings.TrimPrefix(item.Name, m.prefix+m.dir()), item.Generation, int64(item.Size), crc, 0})
	}
	return all, nil
}

func (m *composite) Parts(ctx context.Context) (all []object.Part, err error) {
	pieces, err := m.pieces(ctx)
	for _, p := range pieces {
		if is, ok := p.part(); ok {
			all = append(all, is)
		}
	}
	return all, err
}

// Put stores a part. One of its name is there already when an answer was lost, or when
// somebody else goes on with the same upload: its bytes are the same.
func (m *composite) Put(ctx context.Context, p object.Part, body *io.SectionReader) error {
	crc, err := sumOf(body, p.CRC64)
	if err != nil {
		return err
	}
	key := m.dir() + partName(p, crc)
	o := &raw.Object{
		Name: m.prefix + key, ContentType: contentType, Crc32c: crc.String(),
		StorageClass: m.config.StorageClass, // that of a part is the archive's
	}
	_, err = m.insert(ctx, o, body)
	if errors.Is(err, core.ErrExists) || errors.Is(err, core.ErrDenied) { // as who may not replace it
		attrs, e := m.look(ctx, key)
		switch {
		case e == nil && attrs.Size == p.Size && crc32c(attrs.CRC32C) == crc:
			return nil
		case e != nil && errors.Is(err, core.ErrExists):
			return e // whoever had it there has committed the archive since, and removed it
		}
	}
	return err
}

// Commit composes the parts, in levels where there are many. Each object that it makes
// has to have the CRC32C of what it is made of.
func (m *composite) Commit(ctx context.Context, parts []object.Part) (object.Object, error) {
	held, err := m.held(ctx)
	if err != nil {
		return object.Object{}, err
	}
	var level []piece
	for _, p := range parts {
		h, ok := held[slot(p)]
		if !ok {
			return object.Object{}, core.Errorf(core.ErrNotFound, "part %d of %s is not there any more", p.Index, m.key)
		}
		if is, ok := h.part(); !ok || is.Size != p.Size {
			return object.Object{}, core.Errorf(core.ErrChanged, "part %d of %s is not there as it was sent", p.Index, m.key)
		}
		h.sum = p.CRC64
		level = append(level, h)
	}
	for depth := 0; len(level) > mostSources; depth++ {
		if level, err = m.join(ctx, depth, level, held); err != nil {
			return object.Object{}, err
		}
	}
	all := whole(level)
	asked := m.resource(m.key, m.token, all.sum, all.crc)
	o, err := m.compose(ctx, asked, level)
	if err != nil {
		return object.Object{}, err
	}
	return m.made(ctx, asked, o)
}

// held are the pieces by what a commit knows of them: parts by their slots, what is
// composed by its name.
func (m *composite) held(ctx context.Context) (map[string]piece, error) {
	pieces, err := m.pieces(ctx)
	held := make(map[string]piece, len(pieces))
	for _, p := range pieces {
		name := p.name
		if partNames.MatchString(name) {
			name = name[:strings.LastIndexByte(name, '-')]
		}
		held[name] = p
	}
	return held, err
}

// whole is what pieces are together.
func whole(pieces []piece) (all piece) {
	for _, p := range pieces {
		all.size, all.crc, all.sum = all.size+p.size, all.crc.then(p.crc, p.size), all.sum.Then(p.sum, p.size)
	}
	return all
}

// join composes pieces in groups, which are then fewer.
func (m *composite) join(ctx context.Context, depth int, level []piece, held map[string]piece) ([]piece, error) {
	groups := slices.Collect(slices.Chunk(level, mostSources))
	joined := make([]piece, len(groups))
	each, ctx := errgroup.WithContext(ctx)
	each.SetLimit(m.config.workers())
	for i, group := range groups {
		all := whole(group)
		all.name = fmt.Sprintf("level%d-%05d-%016x", depth, i, uint64(all.sum))
		if h, ok := held[all.name]; ok && h.size == all.size && h.crc == all.crc {
			all.generation = h.generation
			joined[i] = all
			continue
		}
		each.Go(func() (err error) {
			all.generation, err = m.joinOne(ctx, all, group)
			joined[i] = all
			return err
		})
	}
	return joined, each.Wait()
}

func (m *composite) joinOne(ctx context.Context, all piece, group []piece) (generation int64, err error) {
	key := m.dir() + all.name
	o, err := m.compose(ctx, &raw.Object{Name: m.prefix + key, ContentType: contentType, Crc32c: all.crc.String(), StorageClass: m.config.StorageClass}, group)
	if errors.Is(err, core.ErrExists) { // an answer was lost, or somebody else does the same
		attrs, err := m.look(ctx, key)
		if err != nil {
			return 0, err
		}
		return attrs.Generation, nil
	}
	if err != nil {
		return 0, err
	}
	return o.Generation, nil
}

// compose makes one object of pieces, unless there is one.
func (m *composite) compose(ctx context.Context, o *raw.Object, of []piece) (*raw.Object, error) {
	asked := &raw.ComposeRequest{Destination: o}
	for _, p := range of {
		asked.SourceObjects = append(asked.SourceObjects, &raw.ComposeRequestSourceObjects{Name: m.prefix + m.dir() + p.name, Generation: p.generation})
	}
	q := m.raw.Objects.Compose(m.config.Bucket, o.Name, asked).IfGenerationMatch(0).Fields(fields).Context(ctx)
	if m.config.KMSKey != "" {
		q.KmsKeyName(m.config.KMSKey)
	}
	made, err := q.Do()
	return made, translate(opCompose, err)
}

// Abort deletes parts by their generations: so no older ones stay in a bucket that keeps
// those. Parts that are protected say that no more of them should be made.
func (m *composite) Abort(ctx context.Context) error {
	pieces, err := m.pieces(ctx)
	if err != nil {
		return err
	}
	each, inner := errgroup.WithContext(ctx)
	each.SetLimit(m.config.workers())
	for _, p := range pieces {
		each.Go(func() error {
			err := translate(opDelete, m.at(m.dir()+p.name).Generation(p.generation).Delete(inner))
			if errors.Is(err, core.ErrNotFound) {
				return nil
			}
			return err
		})
	}
	if err = each.Wait(); errors.Is(err, core.ErrLocked) {
		err = errors.Join(err, m.askAgain(ctx))
	}
	return err
}
