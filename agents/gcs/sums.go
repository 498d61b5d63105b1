package gcs

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"io"

	"github.com/minio/crc64nvme"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

// A crc32c is the checksum that the server computes and compares (RFC 3720, 12.1).
type crc32c uint32

// sumOf reads a body and returns its CRC32C. Its CRC-64 has to be sum: so the two stand
// for the same bytes, and what the server says of the one holds for the other.
func sumOf(body *io.SectionReader, sum core.CRC64) (crc32c, error) {
	c32, c64 := crc32.New(crc32.MakeTable(crc32.Castagnoli)), crc64nvme.New()
	in := io.NewSectionReader(object.Unlimited(body), 0, body.Size()) // body itself is not read yet
	n, err := io.CopyBuffer(io.MultiWriter(c32, c64), struct{ io.Reader }{in}, make([]byte, 256<<10))
	if err != nil {
		return 0, err
	}
	if n != body.Size() || core.CRC64(c64.Sum64()) != sum {
		return 0, core.Errorf(core.ErrChanged, "the source gives other bytes than before")
	}
	return crc32c(c32.Sum32()), nil
}

// String is the checksum as the API writes it.
func (c crc32c) String() string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, uint32(c)))
}

func parseCRC32C(text string) (crc32c, bool) {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) != 4 {
		return 0, false
	}
	return crc32c(binary.BigEndian.Uint32(b)), true
}

// then is the checksum of two pieces in a row, of which the second has n bytes.
func (c crc32c) then(next crc32c, n int64) crc32c {
	return core.JoinCRC(crc32.Castagnoli, c, next, n)
}
