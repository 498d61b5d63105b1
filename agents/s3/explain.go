package s3

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithy "github.com/aws/smithy-go"

	"github.com/offsite-backup/offsite/core"
)

// named is how Amazon says which right is missing, of S3 or of KMS:
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/troubleshoot-403-errors.html
var named = regexp.MustCompile(`not authorized to perform: ([a-z0-9-]+:[A-Za-z]+)`)

// Right is what the server says, or else what the operation needs.
func (s *store) Right(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		if right := named.FindStringSubmatch(api.ErrorMessage()); right != nil {
			return right[1]
		}
	}
	var op *smithy.OperationError
	if !errors.As(err, &op) {
		return ""
	}
	right, _, _ := strings.Cut(rights[op.Operation()], ",")
	return right
}

// Settings looks at versions, locks and lifecycle.
func (s *store) Settings(ctx context.Context) (found []core.Finding, err error) {
	var unseen []string
	for _, look := range []func(context.Context) (core.Finding, error){s.versions, s.locks, s.lifecycle} {
		f, err := look(ctx)
		switch {
		case errors.Is(err, core.ErrDenied):
			unseen = append(unseen, s.Right(err))
		case errors.Is(err, core.ErrUnsupported):
			// A server without such a thing.
		case err != nil:
			return found, err
		default:
			found = append(found, f)
		}
	}
	if unseen != nil {
		found = append(found, core.Finding{
			What: "settings", Verdict: core.VerdictNote,
			Why: "these credentials may not look at all settings of the bucket, and no upload needs to",
			Do:  "to see them here too: grant " + strings.Join(unseen, ", "),
		})
	}
	return found, nil
}

func (s *store) versions(ctx context.Context) (core.Finding, error) {
	out, err := s.client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &s.config.Bucket})
	if err != nil {
		return core.Finding{}, translate(err)
	}
	if out.Status == types.BucketVersioningStatusEnabled {
		return core.Finding{What: "versions", Verdict: core.VerdictOK, Why: "what is deleted stays in the bucket as an older version"}, nil
	}
	return core.Finding{What: "versions", Verdict: core.VerdictNote, Why: "the bucket keeps none: what is deleted is gone"}, nil
}

func (s *store) locks(ctx context.Context) (core.Finding, error) {
	f := core.Finding{What: "lock", Verdict: core.VerdictOK}
	out, err := s.client.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &s.config.Bucket})
	if err = translate(err); err != nil && !errors.Is(err, core.ErrNotFound) {
		return f, err
	}
	able := err == nil && out.ObjectLockConfiguration != nil && out.ObjectLockConfiguration.ObjectLockEnabled == types.ObjectLockEnabledEnabled
	switch {
	case able && out.ObjectLockConfiguration.Rule != nil && out.ObjectLockConfiguration.Rule.DefaultRetention != nil:
		f.Verdict, f.Why = core.VerdictNote, "the bucket itself locks all that is stored, "+retention(out.ObjectLockConfiguration.Rule.DefaultRetention)+
			": also what interrupted uploads leave, and marks that an id is gone"
	case able && s.config.Lock != "":
		f.Why = fmt.Sprintf("backups are locked for %v; s3:PutObjectRetention is not tried, because what is locked stays", s.config.LockFor)
	case able:
		f.Verdict, f.Why = core.VerdictNote, "the bucket can lock objects, and none is locked: there is no option lock"
	case s.config.Lock != "":
		f.Verdict, f.Why = core.VerdictFailed, "the bucket cannot lock objects, so it refuses what is to be locked"
		f.Do = "take a bucket that was made with object lock, or leave out the option lock"
	default:
		f.Why = "none"
	}
	return f, nil
}

func retention(r *types.DefaultRetention) string {
	unit, n := "days", aws.ToInt32(r.Days)
	if n == 0 {
		unit, n = "years", aws.ToInt32(r.Years)
	}
	return fmt.Sprintf("for %d %s (%s)", n, unit, strings.ToLower(string(r.Mode)))
}

func (s *store) lifecycle(ctx context.Context) (core.Finding, error) {
	f := core.Finding{What: "lifecycle", Verdict: core.VerdictOK, Why: "nothing removes backups"}
	out, err := s.client.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: &s.config.Bucket})
	if err = translate(err); errors.Is(err, core.ErrNotFound) {
		return f, nil
	}
	if err != nil {
		return f, err
	}
	var harm []string
	for _, rule := range out.Rules {
		if does := s.harm(rule); does != "" {
			harm = append(harm, fmt.Sprintf("rule %q %s", aws.ToString(rule.ID), does))
		}
	}
	if harm != nil {
		f.Verdict, f.Why = core.VerdictWarning, strings.Join(harm, "; ")
		f.Do = "change that lifecycle of the bucket, or take another prefix"
	}
	return f, nil
}

// harm is what a rule of a lifecycle does to backups, or "".
func (s *store) harm(rule types.LifecycleRule) string {
	if rule.Status != types.ExpirationStatusEnabled || !s.concerns(rule) {
		return ""
	}
	if e := rule.Expiration; e != nil && (aws.ToInt32(e.Days) > 0 || e.Date != nil) {
		return "removes them " + when(e.Days, e.Date)
	}
	for _, t := range rule.Transitions {
		switch t.StorageClass {
		case types.TransitionStorageClassGlacier, types.TransitionStorageClassDeepArchive:
			return fmt.Sprintf("moves them to %s %s, where nothing can be read at once", t.StorageClass, when(t.Days, t.Date))
		}
	}
	return ""
}

// concerns says whether a rule is about archives or metadata, which have no tags.
func (s *store) concerns(rule types.LifecycleRule) bool {
	//lint:ignore SA1019 rules that were written once still have it
	prefix := aws.ToString(rule.Prefix)
	if f := rule.Filter; f != nil {
		if f.Tag != nil || f.And != nil && len(f.And.Tags) > 0 {
			return false
		}
		prefix = aws.ToString(f.Prefix)
		if f.And != nil {
			prefix = aws.ToString(f.And.Prefix)
		}
	}
	for _, ours := range []string{s.prefix + "meta/", s.prefix + "data/"} {
		if strings.HasPrefix(prefix, ours) || strings.HasPrefix(ours, prefix) {
			return true
		}
	}
	return false
}

func when[T any](days *int32, date *T) string {
	if date != nil {
		return fmt.Sprintf("on %v", *date)
	}
	return fmt.Sprintf("after %d days", aws.ToInt32(days))
}
