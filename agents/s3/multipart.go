package s3

import (
	"context"
	"errors"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

// A multipart is one multipart upload. What it consists of, the server knows.
type multipart struct {
	*store
	key, token, id string
	started        time.Time
	summed         bool // whether the server keeps the CRC-64/NVME of its parts
}

func (s *store) Begin(ctx context.Context, key, token string) (object.Multipart, error) {
	m := &multipart{store: s, key: key, token: token, started: s.now()}
	err := s.sums.try(func(use algorithms) error {
		with := s.attributes(key)
		in := &s3.CreateMultipartUploadInput{
			Metadata:                  map[string]string{tokenKey: token},
			StorageClass:              with.class,
			ServerSideEncryption:      with.encryption,
			SSEKMSKeyId:               with.kmsKey,
			BucketKeyEnabled:          with.bucketKey,
			ObjectLockMode:            with.lock,
			ObjectLockRetainUntilDate: with.until,
		}
		in.Bucket, in.Key = s.at(key)
		if use.crc {
			in.ChecksumAlgorithm, in.ChecksumType = types.ChecksumAlgorithmCrc64nvme, types.ChecksumTypeFullObject
		}
		out, err := s.client.CreateMultipartUpload(ctx, in)
		if err != nil {
			return translate(err)
		}
		if m.id = aws.ToString(out.UploadId); m.id == "" {
			return core.Errorf(core.ErrUnavailable, "the server began an upload and did not say which")
		}
		m.summed = use.crc && out.ChecksumType == types.ChecksumTypeFullObject
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.sums.learn(m.summed)
	if s.config.Checksum == sumCRC64 && !m.summed {
		err := core.Errorf(core.ErrUnsupported, "the server keeps no CRC-64/NVME: give checksum=md5, or auto")
		return nil, errors.Join(err, m.Abort(ctx))
	}
	return m, nil
}

func (s *store) Multiparts(ctx context.Context, prefix string) iter.Seq2[object.Multipart, error] {
	return func(yield func(object.Multipart, error) bool) {
		in := &s3.ListMultipartUploadsInput{Bucket: &s.config.Bucket, EncodingType: types.EncodingTypeUrl}
		if prefix != "" { // MinIO takes a whole key and knows no other prefix but none
			in.Prefix = aws.String(s.prefix + prefix)
		}
		for more := true; more; {
			found, err := s.uploads(ctx, in)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, m := range found {
				if !yield(m, nil) {
					return
				}
			}
			more = in.KeyMarker != nil
		}
	}
}

// uploads reads one page, and sets the markers of in to where the next one begins,
// nil where there is none.
func (s *store) uploads(ctx context.Context, in *s3.ListMultipartUploadsInput) (found []object.Multipart, err error) {
	out, err := s.client.ListMultipartUploads(ctx, in)
	if err != nil {
		return nil, translate(err)
	}
	for _, u := range out.Uploads {
		full, err := decodeKey(u.Key, out.EncodingType)
		if err != nil {
			return nil, err
		}
		if key, ours := strings.CutPrefix(full, s.prefix); ours {
			found = append(found, &multipart{store: s, key: key, id: aws.ToString(u.UploadId), started: aws.ToTime(u.Initiated)})
		}
	}
	if more, err := goesOn(out.IsTruncated); err != nil || !more {
		in.KeyMarker, in.UploadIdMarker = nil, nil
		return found, err
	}
	key, err := decodeKey(out.NextKeyMarker, out.EncodingType)
	if err != nil {
		return nil, err
	}
	at := func(key, id *string) string { return aws.ToString(key) + "\n" + aws.ToString(id) }
	from := at(in.KeyMarker, in.UploadIdMarker)
	in.KeyMarker, in.UploadIdMarker = &key, out.NextUploadIdMarker
	return found, onward(from, at(in.KeyMarker, in.UploadIdMarker))
}

func (m *multipart) Key() string        { return m.key }
func (m *multipart) Token() string      { return m.token }
func (m *multipart) Started() time.Time { return m.started }

// Parts leaves out what was sent by MD5: nobody can say which bytes those are.
func (m *multipart) Parts(ctx context.Context) (all []object.Part, err error) {
	parts, err := m.parts(ctx)
	for _, p := range parts {
		if sum, ok := decode(p.ChecksumCRC64NVME); ok {
			m.summed = true
			all = append(all, object.Part{Index: index(p), Size: aws.ToInt64(p.Size), CRC64: sum})
		}
	}
	return all, err
}

// Part numbers count from 1.
func index(p types.Part) int  { return int(aws.ToInt32(p.PartNumber)) - 1 }
func number(index int) *int32 { return aws.Int32(int32(index) + 1) }

func (m *multipart) parts(ctx context.Context) (all []types.Part, err error) {
	in := &s3.ListPartsInput{UploadId: &m.id}
	in.Bucket, in.Key = m.at(m.key)
	for {
		out, err := m.client.ListParts(ctx, in)
		if err != nil {
			return nil, translate(err)
		}
		all = append(all, out.Parts...)
		if more, err := goesOn(out.IsTruncated); err != nil || !more {
			return all, err
		}
		if err := onward(aws.ToString(in.PartNumberMarker), aws.ToString(out.NextPartNumberMarker)); err != nil {
			return nil, err
		}
		in.PartNumberMarker = out.NextPartNumberMarker
	}
}

func (m *multipart) Put(ctx context.Context, p object.Part, body *io.SectionReader) error {
	use := algorithms{crc: m.summed, md5: !m.summed && m.config.Checksum != sumNone}
	crc, md, err := use.of(body, p.CRC64)
	if err != nil {
		return err
	}
	in := &s3.UploadPartInput{
		UploadId: &m.id, PartNumber: number(p.Index),
		Body: body, ContentLength: &p.Size, ChecksumCRC64NVME: crc, ContentMD5: md,
	}
	in.Bucket, in.Key = m.at(m.key)
	_, err = m.client.UploadPart(ctx, in, unsigned)
	return translate(err)
}

// Commit asks the server for its parts and completes exactly those that were meant.
func (m *multipart) Commit(ctx context.Context, parts []object.Part) (object.Object, error) {
	in := &s3.CompleteMultipartUploadInput{UploadId: &m.id, IfNoneMatch: aws.String("*"), MultipartUpload: &types.CompletedMultipartUpload{}}
	in.Bucket, in.Key = m.at(m.key)
	held, err := m.parts(ctx)
	if err != nil {
		return object.Object{}, err
	}
	size, sum := int64(0), core.CRC64(0)
	for i, p := range parts {
		if i >= len(held) || !m.same(held[i], p) {
			return object.Object{}, core.Errorf(core.ErrChanged, "part %d of %s is not there as it was sent", p.Index, m.key)
		}
		size, sum = size+p.Size, sum.Then(p.CRC64, p.Size)
		in.MultipartUpload.Parts = append(in.MultipartUpload.Parts, types.CompletedPart{
			PartNumber: held[i].PartNumber, ETag: held[i].ETag, ChecksumCRC64NVME: held[i].ChecksumCRC64NVME,
		})
	}
	in.MpuObjectSize = &size
	if m.summed {
		in.ChecksumCRC64NVME, in.ChecksumType = encode(sum), types.ChecksumTypeFullObject
	}
	if _, err := m.client.CompleteMultipartUpload(ctx, in); err != nil {
		return object.Object{}, translate(err)
	}
	return m.Stat(ctx, m.key)
}

// same says whether the server holds p.
func (m *multipart) same(held types.Part, p object.Part) bool {
	sum, ok := decode(held.ChecksumCRC64NVME)
	return index(held) == p.Index && aws.ToInt64(held.Size) == p.Size && (ok || !m.summed) && (!ok || sum == p.CRC64)
}

func (m *multipart) Abort(ctx context.Context) error {
	in := &s3.AbortMultipartUploadInput{UploadId: &m.id}
	in.Bucket, in.Key = m.at(m.key)
	_, err := m.client.AbortMultipartUpload(ctx, in)
	if err = translate(err); errors.Is(err, core.ErrNotFound) {
		return nil
	}
	return err
}
