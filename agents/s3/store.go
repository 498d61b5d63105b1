package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
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
	"github.com/offsite-backup/offsite/core/transport"
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
	_ object.Explainer = (*store)(nil)
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
		with := s.attributes(key)
		in := &s3.PutObjectInput{
			Body:                      io.NewSectionReader(body, 0, body.Size()),
			ContentLength:             aws.Int64(body.Size()),
			IfNoneMatch:               aws.String("*"),
			ChecksumCRC64NVME:         crc,
			ContentMD5:                md,
			StorageClass:              with.class,
			ServerSideEncryption:      with.encryption,
			SSEKMSKeyId:               with.kmsKey,
			BucketKeyEnabled:          with.bucketKey,
			ObjectLockMode:            with.lock,
			ObjectLockRetainUntilDate: with.until,
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

// attributes are what an object is stored with besides its bytes.
type attributes struct {
	class      types.StorageClass
	encryption types.ServerSideEncryption
	kmsKey     *string
	bucketKey  *bool
	lock       types.ObjectLockMode
	until      *time.Time
}

// attributes go by the layout of package object. Only archives are worth a cheaper
// class. What belongs to a backup is locked; a hold must be free to be released.
func (s *store) attributes(key string) (a attributes) {
	c, archive := s.config, strings.HasPrefix(key, "data/")
	a.encryption = types.ServerSideEncryption(c.SSE)
	if c.KMSKey != "" {
		a.kmsKey = &c.KMSKey
	}
	if c.BucketKey {
		a.bucketKey = aws.Bool(true)
	}
	if archive {
		a.class = types.StorageClass(c.StorageClass)
	}
	if c.Lock != "" && (archive || strings.HasPrefix(key, "meta/") || strings.HasPrefix(key, "sig/")) {
		a.lock = types.ObjectLockMode(strings.ToUpper(c.Lock))
		a.until = aws.Time(s.now().Add(c.LockFor))
	}
	return a
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

func (s *store) Protected(ctx context.Context, key string) (time.Time, error) {
	out, err := s.head(ctx, key)
	if errors.Is(err, core.ErrNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	return protection(key, out)
}

func protection(key string, of *s3.HeadObjectOutput) (until time.Time, err error) {
	if of.ObjectLockLegalHoldStatus == types.ObjectLockLegalHoldStatusOn {
		return until, core.Errorf(core.ErrLocked, "%s is under a legal hold", key)
	}
	return aws.ToTime(of.ObjectLockRetainUntilDate), nil
}

// Delete looks first: where a bucket keeps versions, S3 hides what is protected, and
// what is not there.
func (s *store) Delete(ctx context.Context, key string) error {
	out, err := s.head(ctx, key)
	if errors.Is(err, core.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	until, err := protection(key, out)
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
	if !whole {
		in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", off, off+n-1))
	}
	out, err := s.client.GetObject(ctx, in, summed)
	if err = translate(err); errors.Is(err, core.ErrExists) { // what 412 means elsewhere
		return nil, core.Errorf(core.ErrChanged, "%s was replaced: %w", o.Key, transport.Quiet{Cause: err})
	}
	if err != nil {
		return nil, err
	}
	if err := fits(out, o, in.Range); err != nil {
		_ = out.Body.Close()
		return nil, err
	}
	b := transport.Body{ReadCloser: out.Body, Left: n, Translate: translate}
	if sum, ok := decode(out.ChecksumCRC64NVME); ok && whole && out.ChecksumType != types.ChecksumTypeComposite {
		return &checked{b, sum, crc64nvme.New()}, nil
	}
	return &b, nil
}

// fits compares what a server sends with what it was asked for: not every server
// looks at If-Match and Range.
func fits(out *s3.GetObjectOutput, o object.Object, asked *string) error {
	if etag := aws.ToString(out.ETag); etag != "" && bare(etag) != bare(o.Version) {
		return core.Errorf(core.ErrChanged, "%s was replaced", o.Key)
	}
	if asked == nil {
		return nil
	}
	want := strings.Replace(*asked, "=", " ", 1) + fmt.Sprintf("/%d", o.Size)
	if got := aws.ToString(out.ContentRange); got != want {
		return core.Errorf(core.ErrUnavailable, "asked for %q, the server sent %q", want, got)
	}
	return nil
}

// bare is an ETag as lists and heads of all servers have it.
func bare(etag string) string { return strings.Trim(strings.TrimPrefix(etag, "W/"), `"`) }

// summed asks for the checksum with the bytes, and keeps the SDK from computing it
// with a hash that is slow. Only an answer of all bytes has it.
func summed(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, smithyhttp.SetHeaderValue("X-Amz-Checksum-Mode", "ENABLED"))
}

// A checked body is that of a whole object, of which the server has the checksum.
type checked struct {
	transport.Body
	want core.CRC64
	read hash.Hash64
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.Body.Read(p)
	c.read.Write(p[:n])
	if c.Left == 0 && core.CRC64(c.read.Sum64()) != c.want {
		return 0, core.Errorf(core.ErrDamaged, "what came is not what the server has")
	}
	return n, err
}
