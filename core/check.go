package core

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
)

// A Check compares the bytes of one range of an archive, as they come, with the
// checksums of its metadata. It is not safe for concurrent use.
type Check struct {
	backup  Backup
	pos     int64       // of the next byte, in the archive
	stop    int64       // where the range ends
	sha     hash.Hash   // nil unless the range is the whole archive
	crc     hash.Hash64 // nil where the metadata has no chunks
	covered bool        // whether the chunk at pos began in the range and ends in it
}

// NewCheck returns the Check of the n bytes from off of the archive of b, which
// must lie in it. crc is a hash of CRC-64/NVME that it may keep; nil means
// NewCRC64().
func NewCheck(b Backup, off, n int64, crc hash.Hash64) *Check {
	c := &Check{backup: b, pos: off, stop: off + n}
	if n == b.Size {
		c.sha = sha256.New()
	}
	if b.Chunks.Size > 0 {
		if c.crc = crc; crc == nil {
			c.crc = NewCRC64()
		}
	}
	return c
}

// Write takes the next bytes. It answers ErrDamaged at the end of a chunk that
// the range covers whole and whose checksum is another, and for bytes behind the
// end of the range.
func (c *Check) Write(p []byte) (int, error) {
	if int64(len(p)) > c.stop-c.pos {
		return 0, Errorf(ErrDamaged, "%s has more bytes than were asked for", c.backup.Archive)
	}
	if c.sha != nil {
		c.sha.Write(p)
	}
	if c.crc == nil {
		c.pos += int64(len(p))
		return len(p), nil
	}
	for rest := p; len(rest) > 0; {
		n, err := c.chunk(rest)
		if err != nil {
			return len(p) - len(rest), err
		}
		rest = rest[n:]
	}
	return len(p), nil
}

// chunk takes what of p lies in the chunk at pos.
func (c *Check) chunk(p []byte) (int64, error) {
	i := c.pos / c.backup.Chunks.Size
	start := i * c.backup.Chunks.Size
	end := start + min(c.backup.Chunks.Size, c.backup.Size-start)
	if c.pos == start {
		c.covered = end <= c.stop
		c.crc.Reset()
	}
	n := min(int64(len(p)), end-c.pos)
	c.pos += n
	if !c.covered {
		return n, nil
	}
	c.crc.Write(p[:n])
	if c.pos == end && CRC64(c.crc.Sum64()) != c.backup.Chunks.CRC64NVME[i] {
		return n, Errorf(ErrDamaged, "bytes %d to %d of %s are not the ones that were stored", start, end, c.backup.Archive)
	}
	return n, nil
}

// End says whether the range is complete, and the SHA-256 that of the metadata
// where the range is the whole archive; else it is ErrDamaged.
func (c *Check) End() error {
	if c.pos != c.stop {
		return Errorf(ErrDamaged, "%s ends %d bytes early", c.backup.Archive, c.stop-c.pos)
	}
	if c.sha == nil {
		return nil
	}
	if got := hex.EncodeToString(c.sha.Sum(nil)); got != c.backup.SHA256 {
		return Errorf(ErrDamaged, "%s has SHA-256 %s, its metadata says %s", c.backup.Archive, got, c.backup.SHA256)
	}
	return nil
}
