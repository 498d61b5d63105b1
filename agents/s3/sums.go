package s3

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

// encode is a CRC-64/NVME as S3 writes it.
func encode(sum core.CRC64) *string {
	return aws.String(base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, uint64(sum))))
}

func decode(s *string) (sum core.CRC64, ok bool) {
	raw, err := base64.StdEncoding.DecodeString(aws.ToString(s))
	if err != nil || len(raw) != 8 {
		return 0, false
	}
	return core.CRC64(binary.BigEndian.Uint64(raw)), true
}

// algorithms are those whose checksums go with a request.
type algorithms struct{ crc, md5 bool }

// of are the checksums of a body, of which sum is known.
func (a algorithms) of(body *io.SectionReader, sum core.CRC64) (crc, md *string, err error) {
	if a.crc {
		crc = encode(sum)
	}
	if a.md5 {
		h := md5.New()
		if _, err := io.Copy(h, object.Unlimited(body)); err != nil {
			return nil, nil, err
		}
		md = aws.String(base64.StdEncoding.EncodeToString(h.Sum(nil)))
	}
	return crc, md, nil
}

// sums find out which checksums a server verifies.
type sums struct {
	mode  string       // of Config
	knows atomic.Int32 // of auto: what is known of the server's CRC-64/NVME
}

const (
	unknown = iota
	verifies
	ignores
)

// use is what requests go with. While nothing is known they have both checksums:
// a server may pass over one that it does not know.
func (s *sums) use() algorithms {
	knows := s.knows.Load()
	switch {
	case s.mode == sumCRC64, s.mode == sumAuto && knows == verifies:
		return algorithms{crc: true}
	case s.mode == sumMD5, s.mode == sumAuto && knows == ignores:
		return algorithms{md5: true}
	case s.mode == sumNone:
		return algorithms{}
	}
	return algorithms{crc: true, md5: true}
}

// learn remembers whether the server vouches for the CRC-64/NVME of what it was
// sent.
func (s *sums) learn(vouches bool) {
	is := int32(ignores)
	if vouches {
		is = verifies
	}
	s.knows.CompareAndSwap(unknown, is)
}

// try makes a request with checksums, and once more with MD5 alone where a server
// of which nothing is known refuses the request.
func (s *sums) try(request func(algorithms) error) error {
	use := s.use()
	err := request(use)
	if use != (algorithms{crc: true, md5: true}) || !errors.Is(err, core.ErrUnsupported) {
		return err
	}
	again := request(algorithms{md5: true})
	if errors.Is(again, core.ErrUnsupported) {
		return err // for another reason
	}
	s.learn(false)
	return again
}
