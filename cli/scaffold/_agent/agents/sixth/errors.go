package sixth

import "github.com/offsite-backup/offsite/core"

// translate says what an error of the provider's library means: the one place where
// its codes and statuses become kinds of core. It keeps code and request id, and says
// what a person can do. What has a kind already, such as the source's, stays as it is;
// a request that got no answer is of transport.Unanswered.
func translate(err error) error {
	if err == nil || core.KindOf(err) != "" {
		return err
	}
	return &core.Error{Kind: core.ErrUnavailable, Err: err}
}

// unwritten is what a method answers until it is written.
func unwritten(method, key string) error {
	return translate(core.Errorf(core.ErrUnsupported, "%s is not written yet: %s", method, key))
}
