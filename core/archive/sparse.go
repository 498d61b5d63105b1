package archive

import "strconv"

// A sparse file is stored without its holes, in the PAX 1.0 form of GNU tar: the
// map stands before the data, padded to a block (GNU tar manual, "PAX Format,
// Version 1.0").
type sparse struct {
	size   int64    // bytes of the whole file
	extent []extent // its data in order, each but the last of whole blocks
}

// An extent is a part of a file that has data.
type extent struct{ off, size int64 }

// maxExtents keeps the map below the 1 MiB that archive/tar reads: an extent
// takes at most 40 bytes there.
const maxExtents = 1<<20/40 - 1

// newSparse returns the sparse form of a file with these extents in order, or
// nil where there is no whole block to save.
func newSparse(size int64, found []extent) *sparse {
	s := &sparse{size: size}
	var stored int64
	for _, e := range found {
		stored += s.add(e)
	}
	if stored >= size {
		return nil
	}
	return s
}

// add takes in one more extent and returns the bytes of data that this adds. It
// grows to whole blocks, because GNU tar reads each from a block's begin, and
// joins the one before where that touches it or there are too many.
func (s *sparse) add(e extent) int64 {
	end := min(e.off+e.size, s.size)
	end = min(end+padding(end), s.size)
	off := e.off &^ (blockSize - 1)
	if off >= end {
		return 0
	}
	if n := len(s.extent); n > 0 {
		last := &s.extent[n-1]
		before := last.off + last.size
		if off <= before || n == maxExtents {
			last.size = max(end, before) - last.off
			return last.off + last.size - before
		}
	}
	s.extent = append(s.extent, extent{off, end - off})
	return end - off
}

// stored is the size of what follows the header: the map and the data.
func (s *sparse) stored() int64 {
	n := int64(len(pad(s.appendMap(nil))))
	for _, e := range s.extent {
		n += e.size
	}
	return n
}

func (s *sparse) appendMap(b []byte) []byte {
	line := func(v int64) { b = append(strconv.AppendInt(b, v, 10), '\n') }
	line(int64(len(s.extent)) + 1)
	for _, e := range s.extent {
		line(e.off)
		line(e.size)
	}
	// The end, as GNU tar writes it, so that a hole there is kept.
	line(s.size)
	line(0)
	return b
}

func (s *sparse) records(name string) []record {
	return []record{
		{"GNU.sparse.major", "1"},
		{"GNU.sparse.minor", "0"},
		{"GNU.sparse.name", name},
		{"GNU.sparse.realsize", strconv.FormatInt(s.size, 10)},
	}
}
