package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/minio/crc64nvme"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

// The limits of S3, from
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
const (
	minPart  = 5 << 20
	maxPart  = 5 << 30
	maxParts = 10_000
)

// tokenKey is where the token of an upload stands in an object's metadata.
const tokenKey = "offsite-token"

// A store is one prefix of one bucket.
type store struct {
	config Config
	client *s3.Client
	idle   *http.Transport
	now    func() time.Time
	prefix string      // of all keys: "" or with a slash at its end
	found  atomic.Bool // whether the bucket is known to be there
	sums   sums
}

var (
	_ object.Store     = (*store)(nil)
	_ object.Protector = (*store)(nil)
)

func newStore(ctx context.Context, c Config, env core.Env) (*store, error) {
	client, idle, err := newClient(ctx, c, env)
	if err != nil {
		return nil, err
	}
	s := &store{config: c, client: client, idle: idle, now: env.WithDefaults().Now, sums: sums{mode: cmp.Or(c.Checksum, sumAuto)}}
	if c.Prefix != "" {
		s.prefix = c.Prefix + "/"
	}
	return s, nil
}

func (c *Config) workers() int { return cmp.Or(c.Concurrency, 8) }

func (s *store) Limits() object.Limits {
	return object.Limits{PartSize: cmp.Or(s.config.PartSize, 32<<20), MaxPart: maxPart, MaxParts: maxParts, Workers: s.config.workers()}
}

func (s *store) Close() error {
	s.idle.CloseIdleConnections()
	return nil
}

func (s *store) at(key string) (bucket, full *string) {
	return &s.config.Bucket, aws.String(s.prefix + key)
}

func (s *store) Put(ctx context.Context, key string, body *io.SectionReader, sum core.CRC64) (object.Object, error) {
	err := s.sums.try(func(use algorithms) error {
		crc, md, err := use.of(body, sum)
		if err != nil {
			return err
		}
		how := s.how(key)
		in := &s3.PutObjectInput{
			Body:                      io.NewSectionReader(body, 0, body.Size()),
			ContentLength:             aws.Int64(body.Size()),
			IfNoneMatch:               aws.String("*"),
			ChecksumCRC64NVME:         crc,
			ContentMD5:                md,
			StorageClass:              how.class,
			ServerSideEncryption:      how.encryption,
			SSEKMSKeyId:               how.kmsKey,
			BucketKeyEnabled:          how.bucketKey,
			ObjectLockMode:            how.lock,
			ObjectLockRetainUntilDate: how.until,
		}
		in.Bucket, in.Key = s.at(key)
		_, err = s.client.PutObject(ctx, in, unsigned)
		return translate(err)
	})
	if err != nil {
		return object.Object{}, err
	}
	o, err := s.Stat(ctx, key)
	if err == nil {
		s.sums.learn(o.Summed)
	}
	return o, err
}

// how is how an object is stored.
type how struct {
	class      types.StorageClass
	encryption types.ServerSideEncryption
	kmsKey     *string
	bucketKey  *bool
	lock       types.ObjectLockMode
	until      *time.Time
}

// how goes by the layout of package object. Only archives are worth a cheaper
// class. What belongs to a backup is locked; a hold must be free to be released.
func (s *store) how(key string) (h how) {
	c, archive := s.config, strings.HasPrefix(key, "data/")
	h.encryption = types.ServerSideEncryption(c.SSE)
	if c.KMSKey != "" {
		h.kmsKey = &c.KMSKey
	}
	if c.BucketKey {
		h.bucketKey = aws.Bool(true)
	}
	if archive {
		h.class = types.StorageClass(c.StorageClass)
	}
	if c.Lock != "" && (archive || strings.HasPrefix(key, "meta/") || strings.HasPrefix(key, "sig/")) {
		h.lock = types.ObjectLockMode(strings.ToUpper(c.Lock))
		h.until = aws.Time(s.now().Add(c.LockFor))
	}
	return h
}

func (s *store) Stat(ctx context.Context, key string) (object.Object, error) {
	out, err := s.head(ctx, key)
	if err != nil {
		return object.Object{}, err
	}
	o := object.Object{
		Key: key, Size: aws.ToInt64(out.ContentLength), Version: aws.ToString(out.ETag),
		Modified: aws.ToTime(out.LastModified), Token: out.Metadata[tokenKey],
	}
	if out.ChecksumType != types.ChecksumTypeComposite {
		o.Sum, o.Summed = decode(out.ChecksumCRC64NVME)
	}
	return o, nil
}

func (s *store) head(ctx context.Context, key string) (*s3.HeadObjectOutput, error) {
	in := &s3.HeadObjectInput{ChecksumMode: types.ChecksumModeEnabled}
	in.Bucket, in.Key = s.at(key)
	out, err := s.client.HeadObject(ctx, in)
	err = translate(err)
	switch core.KindOf(err) {
	case core.ErrNotFound:
		if s.found.Load() {
			return nil, err
		}
		err = s.reason(ctx, key, err)
	case core.ErrDenied, core.ErrUnsupported:
		err = s.reason(ctx, key, err)
	}
	if err == nil || errors.Is(err, core.ErrNotFound) {
		s.found.Store(true)
	}
	return out, err
}

// reason asks again for what HEAD refused: its answers have no body, and so do not
// say whether it is the key that is wrong, the clock or the bucket.
func (s *store) reason(ctx context.Context, key string, head error) error {
	in := &s3.GetObjectInput{Range: aws.String("bytes=0-0")}
	in.Bucket, in.Key = s.at(key)
	out, err := s.client.GetObject(ctx, in)
	if err == nil {
		_ = out.Body.Close()
		return head // it is there by now
	}
	if err = translate(err); errors.Is(err, core.ErrChanged) {
		return head // it is there by now, and empty
	}
	return err
}

func (s *store) Protected(ctx context.Context, key string) (until time.Time, err error) {
	out, err := s.head(ctx, key)
	if errors.Is(err, core.ErrNotFound) {
		return until, nil
	}
	if err != nil {
		return until, err
	}
	if out.ObjectLockLegalHoldStatus == types.ObjectLockLegalHoldStatusOn {
		return until, core.Errorf(core.ErrLocked, "%s is under a legal hold", key)
	}
	return aws.ToTime(out.ObjectLockRetainUntilDate), nil
}

// Delete asks first: where a bucket keeps versions, S3 lets what is protected be
// hidden.
func (s *store) Delete(ctx context.Context, key string) error {
	until, err := s.Protected(ctx, key)
	if err != nil {
		return err
	}
	if until.After(s.now()) {
		return &core.Error{Kind: core.ErrLocked, Until: until, Detail: fmt.Sprintf("%s is protected until %s", key, until.UTC().Format(time.RFC3339))}
	}
	in := &s3.DeleteObjectInput{}
	in.Bucket, in.Key = s.at(key)
	_, err = s.client.DeleteObject(ctx, in)
	return translate(err)
}

func (s *store) Range(ctx context.Context, o object.Object, off, n int64) (io.ReadCloser, error) {
	in, whole := &s3.GetObjectInput{IfMatch: &o.Version}, off == 0 && n == o.Size
	in.Bucket, in.Key = s.at(o.Key)
	want, with := fmt.Sprintf("%d-%d", off, off+n-1), summed
	if !whole {
		in.Range, with = aws.String("bytes="+want), func(*s3.Options) {}
	}
	out, err := s.client.GetObject(ctx, in, with)
	if err = translate(err); errors.Is(err, core.ErrExists) { // what 412 means elsewhere
		return nil, core.Errorf(core.ErrChanged, "%s was replaced: %w", o.Key, quiet{err})
	}
	if err != nil {
		return nil, err
	}
	if got := aws.ToString(out.ContentRange); !whole && got != fmt.Sprintf("bytes %s/%d", want, o.Size) {
		_ = out.Body.Close()
		return nil, core.Errorf(core.ErrUnavailable, "asked for bytes %s of %d, the server sent %q", want, o.Size, got)
	}
	b := &body{ReadCloser: out.Body, left: n}
	if sum, ok := decode(out.ChecksumCRC64NVME); ok && whole && out.ChecksumType != types.ChecksumTypeComposite {
		b.sum, b.check = sum, crc64nvme.New()
	}
	return b, nil
}

// summed asks for the checksum with the bytes, and keeps the SDK from computing it
// with a hash that is slow.
func summed(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, smithyhttp.SetHeaderValue("X-Amz-Checksum-Mode", "ENABLED"))
}

// A body is what a server sends, which may end early in more ways than one.
type body struct {
	io.ReadCloser
	left  int64
	sum   core.CRC64  // of a whole object
	check hash.Hash64 // of what was read of it; nil where sum is not known
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if b.check != nil {
		b.check.Write(p[:n])
		if b.left == 0 && core.CRC64(b.check.Sum64()) != b.sum {
			return 0, core.Errorf(core.ErrDamaged, "what came is not what the server has")
		}
	}
	if err == io.EOF && b.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && err != io.EOF {
		err = translate(err)
	}
	return n, err
}

func (s *store) List(ctx context.Context, prefix, after string) iter.Seq2[object.Object, error] {
	return func(yield func(object.Object, error) bool) {
		in := &s3.ListObjectsV2Input{Bucket: &s.config.Bucket, Prefix: aws.String(s.prefix + prefix), EncodingType: types.EncodingTypeUrl}
		if after != "" {
			in.StartAfter = aws.String(s.prefix + after)
		}
		for {
			found, next, err := s.page(ctx, in, after)
			if err != nil {
				yield(object.Object{}, err)
				return
			}
			for _, o := range found {
				if after = o.Key; !yield(o, nil) {
					return
				}
			}
			if next == nil {
				return
			}
			in.ContinuationToken = next
		}
	}
}

// page reads one page of a list, whose keys come after after, and where the next
// one begins.
func (s *store) page(ctx context.Context, in *s3.ListObjectsV2Input, after string) (found []object.Object, next *string, err error) {
	out, err := s.client.ListObjectsV2(ctx, in)
	if err != nil {
		return nil, nil, translate(err)
	}
	for _, o := range out.Contents {
		full, err := decodeKey(o.Key, out.EncodingType)
		if err != nil {
			return nil, nil, err
		}
		key, ours := strings.CutPrefix(full, s.prefix)
		if !ours || key <= after && after != "" {
			return nil, nil, core.Errorf(core.ErrUnavailable, "the server lists %q after %q", full, s.prefix+after)
		}
		after = key
		found = append(found, object.Object{Key: key, Size: aws.ToInt64(o.Size), Version: aws.ToString(o.ETag), Modified: aws.ToTime(o.LastModified)})
	}
	if more, err := goesOn(out.IsTruncated); err != nil || !more {
		return found, nil, err
	}
	next = out.NextContinuationToken
	return found, next, onward(aws.ToString(in.ContinuationToken), aws.ToString(next))
}

// goesOn says whether a page is not the last. A page without a word on that is none:
// an answer that ended before its first byte looks like an empty one.
func goesOn(truncated *bool) (bool, error) {
	if truncated == nil {
		return false, core.Errorf(core.ErrUnavailable, "the server sent half a page of a list")
	}
	return *truncated, nil
}

// onward compares where a page was asked for with where the next one is said to be.
func onward(from, to string) error {
	if to == "" || to == from {
		return core.Errorf(core.ErrUnavailable, "the server says that a list goes on, and not where")
	}
	return nil
}

// decodeKey reads a key of a list. Keys of others may have bytes that XML cannot
// have, so lists are asked for with keys encoded as in URLs.
func decodeKey(key *string, encoding types.EncodingType) (string, error) {
	if encoding != types.EncodingTypeUrl {
		return aws.ToString(key), nil
	}
	decoded, err := url.QueryUnescape(aws.ToString(key))
	if err != nil {
		return "", core.Errorf(core.ErrUnavailable, "the server lists a key that is badly encoded: %w", err)
	}
	return decoded, nil
}
