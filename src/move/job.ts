// SPDX-License-Identifier: GPL-3.0-or-later
// What Orthanc's jobs engine asks of a job. The shim keeps each job's last state for Orthanc and sends it along with each call, so
// that a job goes on after a restart of the runtime or of Orthanc.

/** What Orthanc shows of a job and keeps in its database. */
export interface JobState {
  /** 0 to 1. */
  readonly progress: number;
  /** A JSON object. */
  readonly content: string;
  readonly serialized: string;
}

/** The numbers of OrthancPluginJobStepStatus. */
export const StepStatus = { Success: 1, Failure: 2, Continue: 3 } as const;
export type StepStatus = (typeof StepStatus)[keyof typeof StepStatus];

export interface StepResult {
  readonly status: StepStatus;
  readonly state: JobState;
}

/** All jobs of one type. A handle names a job as long as the plugin lives. */
export interface JobRunner {
  /** Works for a moment. @param serialized what the job last was, should the handle be unknown */
  step(handle: string, serialized: string): Promise<StepResult>;
  /** Nothing of the job is under way any more once this resolves; `step` may take it up again.
   *  @returns its last state, if it had one */
  stop(handle: string): Promise<JobState | undefined>;
  /** @param kept what Orthanc kept: the serialized state, with a field "Type" that must not go back to Orthanc */
  restore(kept: string): JobState;
  /** As it was when it was submitted. */
  reset(serialized: string): JobState;
  /** Ends all that is under way. */
  close(): Promise<void>;
}
