package gcs

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	raw "google.golang.org/api/storage/v1"

	"github.com/offsite-backup/offsite/core"
)

// named is how Google says which right is missing, of storage, of keys or of billing:
// https://cloud.google.com/storage/docs/troubleshooting#access-permission
var named = regexp.MustCompile(`(?:Permission '|does not have |with the )((?:storage|cloudkms|serviceusage)\.[A-Za-z.]+[A-Za-z])`)

// Right is what the server says, or else what was asked for needs.
func (s *store) Right(err error) string {
	if right := named.FindStringSubmatch(err.Error()); right != nil {
		return right[1]
	}
	var f failure
	if !errors.As(err, &f) {
		return ""
	}
	right, _, _ := strings.Cut(rights[f.of], ",")
	return right
}

// Settings looks at how archives go up, and at versions, locks and lifecycle.
func (s *store) Settings(ctx context.Context) ([]core.Finding, error) {
	f := core.Finding{What: "upload", Verdict: core.VerdictOK, Why: "archives go up in parts"}
	why, err := s.noParts(ctx)
	if err != nil {
		return nil, err
	}
	if why != "" {
		f.Verdict, f.Why = core.VerdictNote, "archives go up in one stream, which is slower: "+why
	}
	b, err := s.settings(ctx)
	if errors.Is(err, core.ErrDenied) {
		return []core.Finding{f, {
			What: "settings", Verdict: core.VerdictNote,
			Why: "these credentials may not look at the settings of the bucket, and no upload needs to",
			Do:  "to see them here too: grant " + s.Right(err),
		}}, nil
	}
	if err != nil {
		return []core.Finding{f}, err
	}
	if kept := softDelete(b); kept > 0 && why == "" {
		f.Verdict = core.VerdictNote
		f.Why += fmt.Sprintf(", which are paid for until %v after they are deleted: the bucket has soft delete", kept)
		f.Do = "to pay for archives alone: switch the bucket's soft delete off, or give upload=session, which is slower"
	}
	return []core.Finding{f, versions(b), s.locks(b), s.lifecycle(b)}, nil
}

// softDelete is for how long the bucket keeps what is deleted.
func softDelete(b *raw.Bucket) time.Duration {
	if b.SoftDeletePolicy == nil {
		return 0
	}
	return seconds(b.SoftDeletePolicy.RetentionDurationSeconds)
}

func versions(b *raw.Bucket) core.Finding {
	f := core.Finding{What: "versions", Verdict: core.VerdictOK}
	switch {
	case b.Versioning != nil && b.Versioning.Enabled:
		f.Why = "what is deleted stays in the bucket as an older generation"
	case softDelete(b) > 0:
		f.Why = fmt.Sprintf("what is deleted can be restored for %v", softDelete(b))
	default:
		f.Verdict, f.Why = core.VerdictNote, "the bucket keeps none: what is deleted is gone"
	}
	return f
}

func (s *store) locks(b *raw.Bucket) core.Finding {
	f := core.Finding{What: "lock", Verdict: core.VerdictOK}
	able := b.ObjectRetention != nil && b.ObjectRetention.Mode == "Enabled"
	switch {
	case s.config.Lock != "" && !able:
		f.Verdict, f.Why = core.VerdictFailed, "the bucket has no object retention, so it refuses what is to be locked"
		f.Do = "enable object retention on the bucket, or leave out the option lock"
	case b.RetentionPolicy != nil || b.DefaultEventBasedHold:
		f.Verdict, f.Why = core.VerdictNote, keepsParts(b)+": also what interrupted uploads leave, and marks that an id is gone"
	case s.config.Lock != "":
		f.Why = fmt.Sprintf("backups are locked for %v; storage.objects.setRetention is not tried, because what is locked stays", s.config.LockFor)
	case able:
		f.Verdict, f.Why = core.VerdictNote, "the bucket can lock objects, and none is locked: there is no option lock"
	default:
		f.Why = "none"
	}
	return f
}

func (s *store) lifecycle(b *raw.Bucket) core.Finding {
	f := core.Finding{What: "lifecycle", Verdict: core.VerdictOK, Why: "nothing removes backups"}
	if b.Lifecycle == nil {
		return f
	}
	for i, rule := range b.Lifecycle.Rule {
		if rule.Action != nil && rule.Action.Type == "Delete" && s.concerns(rule.Condition) {
			f.Verdict, f.Why = core.VerdictWarning, fmt.Sprintf("rule %d of the bucket's lifecycle removes them", i+1)
			f.Do = "change that lifecycle of the bucket, or take another prefix"
		}
	}
	return f
}

// concerns says whether a rule may be about archives or metadata that are live.
func (s *store) concerns(c *raw.BucketLifecycleRuleCondition) bool {
	if c == nil {
		return true
	}
	if c.IsLive != nil && !*c.IsLive || c.NumNewerVersions > 0 || c.DaysSinceNoncurrentTime > 0 || c.NoncurrentTimeBefore != "" {
		return false
	}
	meets := func(prefix string) bool {
		return slices.ContainsFunc([]string{s.prefix + "meta/", s.prefix + "data/"}, func(ours string) bool {
			return strings.HasPrefix(prefix, ours) || strings.HasPrefix(ours, prefix)
		})
	}
	return len(c.MatchesPrefix) == 0 || slices.ContainsFunc(c.MatchesPrefix, meets)
}
