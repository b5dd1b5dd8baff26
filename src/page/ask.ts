// SPDX-License-Identifier: GPL-3.0-or-later

import { byId, setText } from './dom.ts';

/** True: a question is open. */
export function isAsking(): boolean {
  return (byId('ask') as HTMLDialogElement).open;
}

/** The answer to the question before. */
let answered: Promise<boolean> = Promise.resolve(false);

/** Asks before something is done. The dialog keeps the keyboard's focus inside, and gives it back.
 *  @returns false also if another question is open, whose answer is none to this one */
export async function ask(question: {
  readonly title: string;
  readonly text: string;
  readonly yes: string;
}): Promise<boolean> {
  const dialog = byId('ask') as HTMLDialogElement;
  // A dialog tells its end after it is gone: the next question would take it for its own.
  if (!dialog.open) await answered;
  if (dialog.open) return false;
  setText(byId('ask-title'), question.title);
  setText(byId('ask-text'), question.text);
  setText(byId('ask-yes'), question.yes);
  dialog.returnValue = 'no';
  dialog.showModal();
  answered = new Promise((resolve) => {
    dialog.addEventListener(
      'close',
      () => {
        resolve(dialog.returnValue === 'yes');
      },
      { once: true },
    );
  });
  return await answered;
}
