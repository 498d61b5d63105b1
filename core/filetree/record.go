package filetree

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

// The record of an upload is a text of lines of equal length: index, offset and
// size of a part, and its checksum. The line of a part stands where its index says,
// so several parts at once need neither a lock nor the end of the file. A line is
// written after the bytes of its part are synced. What is no such line in full, a gap
// or a torn one, says nothing.
const lineSize = 64

func line(p object.Part) ([]byte, error) {
	text := fmt.Appendf(nil, "%10d %18d %16d %016x\n", p.Index, p.Offset, p.Size, uint64(p.CRC64))
	if p.Index < 0 || p.Offset < 0 || p.Size <= 0 || len(text) != lineSize {
		return nil, core.Errorf(core.ErrInvalid, "part %d of %d bytes at %d cannot be", p.Index, p.Size, p.Offset)
	}
	return text, nil
}

// parseLine reads the line at an index.
func parseLine(text []byte, index int) (p object.Part, ok bool) {
	var crc uint64
	if _, err := fmt.Sscanf(string(text), "%d %d %d %x\n", &p.Index, &p.Offset, &p.Size, &crc); err != nil {
		return p, false
	}
	p.CRC64 = core.CRC64(crc)
	same, err := line(p)
	return p, err == nil && p.Index == index && bytes.Equal(same, text)
}

// parseRecord reads a whole record.
func parseRecord(r io.Reader) ([]object.Part, error) {
	var parts []object.Part
	buffered := bufio.NewReaderSize(r, 1024*lineSize)
	text := make([]byte, lineSize)
	for i := 0; ; i++ {
		_, err := io.ReadFull(buffered, text)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return parts, nil
		}
		if err != nil {
			return nil, err
		}
		if p, ok := parseLine(text, i); ok {
			parts = append(parts, p)
		}
	}
}

// recorded is all that the record says.
func (m *multipart) recorded(ctx context.Context) ([]object.Part, error) {
	info, err := m.hasRecord(ctx)
	if info == nil {
		return nil, err
	}
	f, err := m.store.open(ctx, m.record(), os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseRecord(&reader{ctx: ctx, store: m.store, file: f, left: info.Size()})
}

// hasRecord describes the record; where there is none, it is nil.
func (m *multipart) hasRecord(ctx context.Context) (fs.FileInfo, error) {
	info, err := m.store.fs.Lstat(ctx, m.record())
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil, nil
	}
	if err != nil {
		return nil, m.store.fail(ctx, err)
	}
	return info, nil
}

// forget takes another part of the same index off the record before its bytes are
// written over. Where there is no record it makes one.
func (m *multipart) forget(ctx context.Context, p object.Part) error {
	if m.hold().blank(p.Index) {
		return nil
	}
	info, err := m.hasRecord(ctx)
	if err != nil {
		return err
	}
	if info == nil {
		return m.newRecord(ctx)
	}
	f, err := m.store.open(ctx, m.record(), os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	text := make([]byte, lineSize)
	if _, err = f.ReadAt(text, int64(p.Index)*lineSize); err != nil && !errors.Is(err, io.EOF) {
		return m.store.fail(ctx, err)
	}
	if old, ok := parseLine(text, p.Index); ok && old != p {
		return m.store.edit(ctx, m.record(), func(f File) error {
			_, err := f.WriteAt(make([]byte, lineSize), int64(p.Index)*lineSize)
			return m.store.fail(ctx, err)
		})
	}
	return nil
}

// newRecord makes an empty record, unless another part was faster.
func (m *multipart) newRecord(ctx context.Context) error {
	if err := m.store.create(ctx, m.record()); err != nil && !errors.Is(err, fs.ErrExist) {
		return m.store.fail(ctx, err)
	}
	return m.store.fail(ctx, m.store.fs.SyncDir(ctx, tmpDir))
}

// blank says whether nothing is on record under an index, as far as that is known
// without a look, and that there is a record.
func (h *hold) blank(index int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.noted != nil && !h.noted[index]
}

// note puts a part on record. That is not synced: whoever does not find it sends the
// part again.
func (m *multipart) note(ctx context.Context, index int, text []byte) error {
	m.hold().remember(index)
	f, err := m.store.open(ctx, m.record(), os.O_WRONLY)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(text, int64(index)*lineSize)
	return m.store.fail(ctx, errors.Join(err, f.Close()))
}

// begun says that there is a record with nothing in it.
func (h *hold) begun() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.noted = map[int]bool{}
}

// remember says that something is, or may be, on record under an index.
func (h *hold) remember(index int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.noted != nil {
		h.noted[index] = true
	}
}
