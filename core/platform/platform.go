package platform

import (
	"context"
	"time"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/archive"
	"github.com/offsite-backup/offsite/core/disk"
)

// A Platform runs jobs and reads backups over the agents of a deployment. Its
// fields are set before its first use and do not change. Its methods are safe for
// concurrent use, and several processes may share a state folder.
type Platform struct {
	Agents []core.Agent // in the order in which they are asked for a backup
	Env    core.Env     // clock, chance, logger, and the state folder, which is needed to run and upload
	Spool  string       // where archives wait to be sent; "" means below the state folder
	Origin core.Origin  // of the backups that are made here

	// Hook makes the hook of a debt that another process left: by core.Hook.Debt, or
	// by the hook's name where that is nil. A debt of which it cannot be made stays.
	// nil: none can.
	Hook func(ctx context.Context, name string, debt []byte) (core.Hook, error)

	// End ends what is left of a process group that an action of a dead process ran
	// in, and answers nil where nothing is. nil: nothing is ended.
	End func(context.Context, core.Process) error

	space func(dir string) (disk.Space, error) // nil: asks the system
}

// A Job says what to back up, and how many copies make a success.
type Job struct {
	Name       string   // of the job; "" for a run without a configuration
	Label      string   // the backup's name, for people
	Paths      []string // files and folders
	Exclude    []string // see archive.Options
	Leave      []string // files and folders left out wherever they lie, such as destinations
	AllowEmpty bool     // whether a path may hold no file
	Hooks      []core.Hook
	MaxPause   time.Duration
	Copies     int      // agents that must hold the backup for a degraded run; 0 means all
	Require    []string // names of agents that must hold it
	Tags       core.Tags

	// KeepPending is how long the archive is kept for agents that did not take it, to
	// be sent by the next run of the job or by Recover. 0: it is not kept.
	KeepPending time.Duration

	Trigger string               // "manual", "schedule"
	Odd     func(archive.Oddity) // told what the archive does not hold as it was; may be nil
	Began   func(core.ID)        // told the id before anything is sent; may be nil
}

// CheckExclude answers core.ErrInvalid for a pattern that cannot stand in
// Job.Exclude, so that it is found before an application is paused.
func CheckExclude(pattern string) error { return archive.CheckExclude([]string{pattern}) }

// A Report is how a run or an upload went.
type Report struct {
	core.Result
	Odd    int64 // entries that the archive does not hold as they were
	Lost   int64 // those of them whose content is missing
	Took   time.Duration
	Paused time.Duration // from the first pre to the last post

	Payments []Payment // posts that earlier processes owed
	Killed   []Killed  // earlier runs, of any job, of which nobody was told yet
	Resent   []Report  // of earlier archives of the job, which waited for agents
	Untold   error     // why hooks could not be told how the run went, which changes nothing
}

// A Copy is how one agent stands to a backup in a list.
type Copy string

// The standings of an agent to a backup.
const (
	Stored  Copy = "stored"  // its metadata and an archive of the right size are there
	Missing Copy = "missing" // the agent was read whole and does not have it
	Differs Copy = "differs" // size or SHA-256 are not those that most agents have
	Damaged Copy = "damaged" // what the agent has of that id is not what was stored
	Unknown Copy = "unknown" // the agent, or what it has of that id, could not be read
)

// A Row is one backup over all agents.
type Row struct {
	Backup core.Backup      // its ID alone where no agent's copy can be read
	Copies map[string]Copy  // by agent
	Errors map[string]error // why, of damaged and unknown ones, but those whose agent is in Listing.Errors
}

// A Listing is what all agents hold.
type Listing struct {
	Rows   []Row            // by core.ID.Compare
	Errors map[string]error // of agents whose list could not be read to its end
}

// RestoreOptions say what of a backup is restored, and how.
type RestoreOptions struct {
	Files     []string // only these names; none means all
	Below     string   // only what lies below this name, put straight into the destination
	Owners    bool     // owners as in the archive, and access lists, which name owners
	Devices   bool     // device nodes
	SetID     bool     // setuid and setgid bits, file capabilities, attributes trusted.* and security.*
	Overwrite bool     // the destination may hold something, which is replaced
	Odd       func(archive.Oddity)
}

// A Restored is how a restore went.
type Restored struct {
	Backup  core.Backup
	From    string // the agent that it came from, the last one where there were several
	Failed  error  // why agents that were asked before it did not give it, if any
	Entries int64
	Size    int64 // bytes of content
	Odd     int64
	Lost    int64
}

// UploadOptions say how a file is uploaded as a backup. An upload that is gone on
// with keeps the Job, Label and Tags that it began with.
type UploadOptions struct {
	ID      core.ID // "" means that of an unfinished upload of the same file, else a new one
	Job     string
	Label   string
	Tags    core.Tags
	Copies  int
	Require []string
	Began   func(core.ID)
}
