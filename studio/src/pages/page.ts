// What every page gives to the frame that shows it.

export interface Page {
  title: string;
  element: HTMLElement;
  /** Whether something would be lost by leaving. */
  hasUnsaved?(): boolean;
  /** Stops what the page does beside being shown. */
  close?(): void;
}
