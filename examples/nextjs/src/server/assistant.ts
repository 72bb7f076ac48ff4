/** The agent's side: Hexward, for one of this application's users. In place of a proxy for the model, a token service and an agent's process. */
import { createHexward, type HexwardUser, HexwardError, hs256Signer } from "@hexward/client";
import { settings, single } from "./settings";
import { remember, type User } from "./users";

export const APP = "tiles";

const hexward = () =>
  single("hexward", () =>
    createHexward({
      baseUrl: settings.hexwardUrl,
      key: settings.hexwardKey,
      signUser: hs256Signer({ issuer: settings.issuer, secret: settings.assertionSecret }),
    }),
  );

export function assistantOf(user: User): HexwardUser {
  return hexward().as({ subject: user.id });
}

/** This user's conversation; a new one where there is none, or none any more. */
export async function conversationOf(user: User): Promise<string> {
  const assistant = assistantOf(user);
  // The tool server is told Hexward's id of them, so it has to be known before the first call.
  if (!user.hexward) remember(user, { hexward: (await assistant.get()).id });
  if (user.conversation) {
    try {
      await assistant.conversations.get(user.conversation);
      return user.conversation;
    } catch (error) {
      if (!(error instanceof HexwardError && error.is("not_found"))) throw error;
    }
  }
  const { id } = await assistant.conversations.create({ app: APP });
  remember(user, { conversation: id });
  return id;
}
