package filetree

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

// The record of an upload is a text of lines of equal length: index, offset and
// size of a part, and its checksum. The line of a part stands where its index says,
// so several writers, even of several processes, need neither a lock nor the end
// of the file. A line is written after the bytes of its part are synced. What is no
// such line in full, a gap or a torn one, says nothing.
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
