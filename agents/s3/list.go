package s3

import (
	"context"
	"iter"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

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
