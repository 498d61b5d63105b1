package core

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/minio/crc64nvme"
	"pgregory.net/rapid"
)

func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)}).Read(b)
	return b
}

// The catalogue of checksums gives this as the check value of CRC-64/NVME.
func TestCRC64CheckValue(t *testing.T) {
	crc := NewCRC64()
	_, _ = crc.Write([]byte("123456789"))
	if got := crc.Sum64(); got != 0xae8b14860a799888 {
		t.Errorf("%016x", got)
	}
}

// TestSums lets chunks begin at a few bytes, so that they double many times.
func TestSums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		least := rapid.SampledFrom([]int64{1, 2, 64}).Draw(t, "least chunk")
		size := rapid.OneOf(
			rapid.IntRange(0, 5000),
			rapid.Map(rapid.IntRange(-1, 1), func(d int) int { return int(least)*maxChunks + d }),
			rapid.Map(rapid.IntRange(-1, 1), func(d int) int { return 4*int(least)*maxChunks + d }),
		).Draw(t, "size")
		data := random(rapid.Uint64().Draw(t, "seed"), size)
		s := NewSums(nil)
		if rapid.Bool().Draw(t, "fast") {
			s = NewSums(crc64nvme.New())
		}
		s.chunk = least
		for rest := data; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "write")
			if m, err := s.Write(rest[:n]); m != n || err != nil {
				t.Fatal(m, err)
			}
			rest = rest[n:]
		}
		b := Backup{Name: "kept"}
		s.Fill(&b)
		sum := sha256.Sum256(data)
		if b.Size != int64(size) || b.SHA256 != hex.EncodeToString(sum[:]) || b.Name != "kept" {
			t.Fatalf("size %d, SHA-256 %s", b.Size, b.SHA256)
		}
		want := least
		for want*maxChunks < int64(size) {
			want *= 2
		}
		if b.Chunks.Size != want {
			t.Fatalf("chunks of %d bytes for %d, want %d", b.Chunks.Size, size, want)
		}
		var crcs []CRC64
		for chunk := range slices.Chunk(data, int(want)) {
			crcs = append(crcs, CRC64(crc64nvme.Checksum(chunk)))
		}
		if !slices.Equal(b.Chunks.CRC64NVME, crcs) {
			t.Fatalf("chunks %v, want %v", b.Chunks.CRC64NVME, crcs)
		}
		if whole, ok := b.Chunks.Whole(b.Size); whole != CRC64(crc64nvme.Checksum(data)) || !ok {
			t.Fatalf("whole %016x, %v", whole, ok)
		}
		if !b.Chunks.cover(b.Size) {
			t.Fatal("chunks do not cover the bytes that they were made of")
		}
	})
}

// Fill may be called in between, and does not end the sums.
func TestSumsFillTwice(t *testing.T) {
	s, data := NewSums(nil), random(1, 100)
	s.chunk = 16
	var first, second Backup
	_, _ = s.Write(data[:56])
	s.Fill(&first)
	_, _ = s.Write(data[56:])
	s.Fill(&second)
	for b, part := range map[*Backup][]byte{&first: data[:56], &second: data} {
		if whole, ok := b.Chunks.Whole(b.Size); b.Size != int64(len(part)) || whole != CRC64(crc64nvme.Checksum(part)) || !ok {
			t.Errorf("after %d bytes: %+v", len(part), b)
		}
	}
}

func TestChunkSize(t *testing.T) {
	tests := []struct{ size, want int64 }{
		{0, 16 << 20}, {1, 16 << 20}, {4 << 30, 16 << 20}, {4<<30 + 1, 32 << 20}, {8 << 30, 32 << 20}, {8<<30 + 1, 64 << 20},
		{1 << 40, 4 << 30}, {1<<63 - 1, 1 << 55},
	}
	for _, test := range tests {
		if got := chunkSize(test.size); got != test.want {
			t.Errorf("%d bytes: chunks of %d, want %d", test.size, got, test.want)
		}
	}
}

func TestWholeOfNothing(t *testing.T) {
	if sum, ok := (Chunks{}).Whole(10); sum != 0 || ok {
		t.Error("no chunks have a checksum")
	}
	if sum, ok := (Chunks{Size: minChunk}).Whole(0); sum != 0 || !ok {
		t.Error("the checksum of no bytes is 0")
	}
}

func TestThen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SliceOf(rapid.Byte()).Draw(t, "a")
		b := rapid.SliceOf(rapid.Byte()).Draw(t, "b")
		sum := func(p []byte) CRC64 { return CRC64(crc64nvme.Checksum(p)) }
		if got, want := sum(a).Then(sum(b), int64(len(b))), sum(slices.Concat(a, b)); got != want {
			t.Fatalf("%016x, want %016x", got, want)
		}
	})
}

// A second piece of more bytes than can be hashed: x^8n has a period of 2^64-1 bits
// at most, and going there in steps is the same as in one.
func TestThenIsAssociative(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := CRC64(rapid.Uint64().Draw(t, "a")), CRC64(rapid.Uint64().Draw(t, "b")), CRC64(rapid.Uint64().Draw(t, "c"))
		n, m := rapid.Int64Range(0, 1<<61).Draw(t, "n"), rapid.Int64Range(0, 1<<61).Draw(t, "m")
		if left, right := a.Then(b, n).Then(c, m), a.Then(b.Then(c, m), n+m); left != right {
			t.Fatalf("%016x, %016x", left, right)
		}
	})
}

func TestCRC64Text(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := CRC64(rapid.Uint64().Draw(t, "crc"))
		doc, err := json.Marshal(c)
		var back CRC64
		if err2 := json.Unmarshal(doc, &back); err != nil || err2 != nil || back != c || len(doc) != 18 {
			t.Fatalf("%s: %v, %v", doc, err, err2)
		}
	})
	for _, s := range []string{"", "0", "00000000000000000", "000000000000000A", "0x00000000000000", "-000000000000001", " 00000000000000f", "000000000000000g", "0000000000000_01", "000000000000000\n"} {
		c := CRC64(7)
		if err := c.UnmarshalText([]byte(s)); err == nil || c != 7 {
			t.Errorf("%q is taken as %v", s, c)
		}
	}
	if text, _ := CRC64(0xab).MarshalText(); !bytes.Equal(text, []byte("00000000000000ab")) {
		t.Errorf("%s", text)
	}
}
