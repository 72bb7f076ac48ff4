/** Whether a link leads to an ordinary web page: absolute, http or https, without credentials in it. */
export function isWebLink(url: string): boolean {
  if (!/^https?:\/\//i.test(url)) return false;
  try {
    const { username, password } = new URL(url);
    return username === "" && password === "";
  } catch {
    return false;
  }
}
