package core

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"
)

// checked is the metadata of content, in chunks of some bytes; none where that is 0.
func checked(content []byte, chunk int64) Backup {
	sums := NewSums(nil)
	sums.Write(content)
	b := Backup{Archive: "data/a"}
	sums.Fill(&b)
	b.Chunks = Chunks{Size: chunk}
	for off := int64(0); chunk > 0 && off < b.Size; off += chunk {
		crc := NewCRC64()
		crc.Write(content[off:min(off+chunk, b.Size)])
		b.Chunks.CRC64NVME = append(b.Chunks.CRC64NVME, CRC64(crc.Sum64()))
	}
	return b
}

// TestCheck flips a byte of a range, or none: the flip is seen when, and only
// when, a chunk that the range covers or the whole archive has it.
func TestCheck(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		content := rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "content")
		chunk := rapid.Int64Range(0, 20).Draw(t, "chunk")
		b := checked(content, chunk)
		off := rapid.Int64Range(0, b.Size).Draw(t, "off")
		n := rapid.Int64Range(0, b.Size-off).Draw(t, "n")
		got := bytes.Clone(content[off : off+n])
		flip := rapid.Int64Range(-1, n-1).Draw(t, "flip")
		seen := false
		if flip >= 0 {
			got[flip] ^= 1
			seen = n == b.Size
		}
		if flip >= 0 && chunk > 0 {
			start := (off + flip) / chunk * chunk
			seen = seen || start >= off && min(start+chunk, b.Size) <= off+n
		}
		c := NewCheck(b, off, n, nil)
		var err error
		for err == nil && len(got) > 0 {
			k := rapid.IntRange(1, len(got)).Draw(t, "piece")
			_, err = c.Write(got[:k])
			got = got[k:]
		}
		if err == nil {
			err = c.End()
		}
		if seen != errors.Is(err, ErrDamaged) || !seen && err != nil {
			t.Fatalf("seen %v: %v", seen, err)
		}
	})
}

func TestCheckCounts(t *testing.T) {
	content := []byte("some content")
	for _, chunk := range []int64{0, 4} {
		c := NewCheck(checked(content, chunk), 4, 4, nil)
		if _, err := c.Write(content[4:6]); err != nil {
			t.Fatal(err)
		}
		if err := c.End(); !errors.Is(err, ErrDamaged) {
			t.Errorf("chunks of %d: too few bytes: %v", chunk, err)
		}
		if _, err := c.Write(content[6:9]); !errors.Is(err, ErrDamaged) {
			t.Errorf("chunks of %d: too many bytes: %v", chunk, err)
		}
		if _, err := c.Write(content[6:8]); err != nil {
			t.Error(err)
		}
		if err := c.End(); err != nil {
			t.Errorf("chunks of %d: %v", chunk, err)
		}
	}
}
