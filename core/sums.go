package core

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/crc64"
	"strconv"
)

// A CRC64 is a CRC-64/NVME checksum. As text it is 16 characters of lower-case
// hex.
//
// It is the one checksum that S3 verifies over whole objects of many parts and
// that Azure Blob verifies per block, and it can be combined.
type CRC64 uint64

// crc64Poly is the polynomial of CRC-64/NVME, reflected (NVM Express NVM Command
// Set Specification 1.0d, 5.2.1.3.4).
const crc64Poly = 0x9A6C9329AC4BC9B5

// NewCRC64 returns the standard library's hash of CRC-64/NVME. Others compute the
// same many times faster.
func NewCRC64() hash.Hash64 { return crc64.New(crc64.MakeTable(crc64Poly)) }

// Then returns the checksum of two pieces in a row, of which c is the first's,
// next the second's, and n the second's length in bytes.
func (c CRC64) Then(next CRC64, n int64) CRC64 { return JoinCRC(crc64Poly, c, next, n) }

// JoinCRC is what CRC64.Then is, for any CRC of 32 or 64 bits whose polynomial, reflected,
// is poly, and of which no bytes have the checksum 0, as CRC32C.
func JoinCRC[T ~uint32 | ~uint64](poly, first, next T, n int64) T {
	return timesModPoly(poly, powerOfX8(poly, uint64(n)), first) ^ next
}

// timesModPoly multiplies two polynomials modulo poly. They are reflected: the
// highest bit is the coefficient of x^0.
func timesModPoly[T ~uint32 | ~uint64](poly, a, b T) (p T) {
	for top := ^(^T(0) >> 1); a != 0; a <<= 1 {
		if a&top != 0 {
			p ^= b
		}
		b = b>>1 ^ poly&-(b&1)
	}
	return p
}

// powerOfX8 is x^8n modulo poly.
func powerOfX8[T ~uint32 | ~uint64](poly T, n uint64) T {
	p := ^(^T(0) >> 1)
	for square := p >> 8; n != 0; n >>= 1 {
		if n&1 != 0 {
			p = timesModPoly(poly, square, p)
		}
		square = timesModPoly(poly, square, square)
	}
	return p
}

// MarshalText writes 16 characters of hex.
func (c CRC64) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%016x", uint64(c)), nil }

// UnmarshalText reads 16 characters of lower-case hex.
func (c *CRC64) UnmarshalText(text []byte) error {
	v, err := strconv.ParseUint(string(text), 16, 64)
	if err != nil || fmt.Sprintf("%016x", v) != string(text) {
		return fmt.Errorf("%q is no CRC-64 of 16 characters of lower-case hex", clip(string(text)))
	}
	*c = CRC64(v)
	return nil
}

const (
	minChunk  = 16 << 20
	maxChunks = 256
)

// chunkSize is the size of the chunks of an archive of size bytes.
func chunkSize(size int64) int64 {
	chunk := int64(minChunk)
	for (size-1)/chunk >= maxChunks {
		chunk *= 2
	}
	return chunk
}

// Sums computes, in one pass over the bytes of an archive, what its metadata says
// of them: size, SHA-256 and the checksums of its chunks. A chunk has 16 MiB, or
// the least power of two times that which makes no more than 256 chunks.
// It never fails. It is not safe for concurrent use.
type Sums struct {
	sha    hash.Hash
	crc    hash.Hash64
	size   int64
	filled int64 // bytes in the chunk that is not finished
	chunk  int64
	done   []CRC64
}

// NewSums returns the Sums of nothing. crc is a hash of CRC-64/NVME that it may
// keep; nil means NewCRC64().
func NewSums(crc hash.Hash64) *Sums {
	if crc == nil {
		crc = NewCRC64()
	}
	return &Sums{sha: sha256.New(), crc: crc, chunk: minChunk}
}

// Write adds bytes.
func (s *Sums) Write(p []byte) (int, error) {
	s.sha.Write(p)
	s.size += int64(len(p))
	for rest := p; len(rest) > 0; {
		if s.filled == s.chunk {
			s.next()
		}
		n := min(int64(len(rest)), s.chunk-s.filled)
		s.crc.Write(rest[:n])
		s.filled += n
		rest = rest[n:]
	}
	return len(p), nil
}

// next closes a full chunk, and makes chunks of twice the size when there would
// be too many.
func (s *Sums) next() {
	s.done = append(s.done, CRC64(s.crc.Sum64()))
	s.crc.Reset()
	s.filled = 0
	if len(s.done) < maxChunks {
		return
	}
	for i := range maxChunks / 2 {
		s.done[i] = s.done[2*i].Then(s.done[2*i+1], s.chunk)
	}
	s.done = s.done[:maxChunks/2]
	s.chunk *= 2
}

// Fill sets Size, SHA256 and Chunks of b to those of the bytes written so far.
func (s *Sums) Fill(b *Backup) {
	b.Size = s.size
	b.SHA256 = hex.EncodeToString(s.sha.Sum(nil))
	b.Chunks = Chunks{Size: s.chunk, CRC64NVME: append([]CRC64{}, s.done...)}
	if s.filled > 0 {
		b.Chunks.CRC64NVME = append(b.Chunks.CRC64NVME, CRC64(s.crc.Sum64()))
	}
	b.seal = b.sealNow()
}

// A seal ties a SHA-256 to the checksums of chunks.
type seal struct {
	size   int64
	sha256 string
	crc    CRC64
}

func (b Backup) sealNow() seal {
	crc, _ := b.Chunks.Whole(b.Size)
	return seal{b.Size, b.SHA256, crc}
}

// OnePass says whether Size, SHA256 and Chunks are those that Sums found in one
// pass over the same bytes. Then bytes that match the chunks, which is quick to
// see, have that SHA-256 as well.
func (b Backup) OnePass() bool { return b.SHA256 != "" && b.seal == b.sealNow() }

// Whole is the checksum of all size bytes that the chunks cover, and whether
// there are chunks at all.
func (c Chunks) Whole(size int64) (sum CRC64, ok bool) {
	for i, crc := range c.CRC64NVME {
		sum = sum.Then(crc, min(c.Size, size-int64(i)*c.Size))
	}
	return sum, c.Size > 0
}
