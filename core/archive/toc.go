package archive

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// tableEntries is how many entries a table has, but the last.
const tableEntries = 1024

// What the content of a table and of the index begins with; the digit is the
// version of the encoding.
const (
	tableSignature = "offsite table 1\n"
	indexSignature = "offsite index 1\n"
)

// A row of the index says where a table lies.
type row struct {
	first string // the name of its first entry
	off   int64  // of its frame in the zstd stream
	size  int64  // of that frame
	sum   [sha256.Size]byte
}

// compareNames is the order of a walk: by the parts of a path, so that a
// directory comes right before what is in it.
func compareNames(a, b string) int {
	for i := range min(len(a), len(b)) {
		switch {
		case a[i] == b[i]:
		case a[i] == '/':
			return -1
		case b[i] == '/':
			return 1
		default:
			return cmp.Compare(a[i], b[i])
		}
	}
	return cmp.Compare(len(a), len(b))
}

// encodeTable writes entries in walk order.
func encodeTable(entries []Entry) []byte {
	b := []byte(tableSignature)
	b = binary.AppendUvarint(b, uint64(len(entries)))
	var prev Entry
	for _, e := range entries {
		b = appendName(b, prev.Name, e.Name)
		b = binary.AppendUvarint(b, uint64(unixMode(e.Mode)))
		b = binary.AppendUvarint(b, uint64(e.UID))
		b = binary.AppendUvarint(b, uint64(e.GID))
		b = binary.AppendVarint(b, e.ModTime.Unix())
		b = binary.AppendUvarint(b, uint64(e.ModTime.Nanosecond()))
		b = binary.AppendUvarint(b, uint64(e.Size))
		b = appendString(b, e.Link)
		if e.Mode.IsRegular() {
			sum, _ := hex.DecodeString(e.SHA256) // made by this package
			b = append(b, sum...)
		}
		b = binary.AppendUvarint(b, uint64(e.at.frame-prev.at.frame))
		b = binary.AppendUvarint(b, uint64(e.at.skip))
		b = binary.AppendUvarint(b, uint64(e.at.packed))
		prev = e
	}
	return b
}

// encodeIndex writes the rows of all tables, which have so many entries.
func encodeIndex(rows []row, entries int64) []byte {
	b := []byte(indexSignature)
	b = binary.AppendUvarint(b, uint64(entries))
	b = binary.AppendUvarint(b, uint64(len(rows)))
	var prev row
	for _, r := range rows {
		b = appendName(b, prev.first, r.first)
		b = binary.AppendUvarint(b, uint64(r.off-prev.off))
		b = binary.AppendUvarint(b, uint64(r.size))
		b = append(b, r.sum[:]...)
		prev = r
	}
	return b
}

// appendName writes how much a name has in common with the one before it, and
// the rest.
func appendName(b []byte, prev, name string) []byte {
	n := 0
	for n < min(len(prev), len(name)) && prev[n] == name[n] {
		n++
	}
	b = binary.AppendUvarint(b, uint64(n))
	return appendString(b, name[n:])
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}
